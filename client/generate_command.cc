// `tessera generate`: one question, one answer, as text while it arrives or as one JSON object.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "client/answer.h"
#include "client/answer_printer.h"
#include "client/client.h"
#include "client/commands.h"
#include "client/flags.h"
#include "client/interrupt.h"
#include "client/json.h"
#include "client/prompt.h"
#include "client/terminal.h"

namespace tessera {
namespace {

struct GenerateFlags {
  ConnectionFlags connection;
  PromptSource source;
  v1::GenerateRequest request;
  bool json = false;
  bool no_stream = false;
};

void PrintAnswer(const v1::GenerateResponse& answer, bool json) {
  if (json) {
    std::fputs(Print(AnswerJson(answer)).c_str(), stdout);
    return;
  }
  AnswerPrinter printer(AnswerPrinter::Style::kText);
  printer.PrintText(answer.text());
  printer.Finish(answer.usage());
}

// The answer in one message.
ExitCode RunUnary(Client& client, const GenerateFlags& flags, const CallOptions& options) {
  Spinner spinner(IsTerminal(STDERR_FILENO));
  const absl::StatusOr<v1::GenerateResponse> answer = client.Generate(flags.request, options);
  spinner.Stop();
  if (!answer.ok()) return FailCall(answer.status(), options.stop);
  PrintAnswer(*answer, flags.json);
  return ExitCode::kOk;
}

// The answer as it is made; JSON waits for its end.
ExitCode RunStream(Client& client, const GenerateFlags& flags, const CallOptions& options) {
  Answer answer;
  AnswerPrinter printer(flags.json ? AnswerPrinter::Style::kNothing : AnswerPrinter::Style::kText);
  absl::Status order;
  absl::Status status =
      client.StreamGenerate(flags.request, options, [&](const v1::StreamGenerateResponse& event) {
        order.Update(answer.Add(event));
        if (event.has_delta()) printer.PrintText(event.delta().text());
      });
  status.Update(order);
  if (status.ok()) status = answer.CheckComplete();
  if (!status.ok()) {
    printer.Abort();
    return FailCall(status, options.stop);
  }
  printer.Finish(answer.response().usage());
  if (flags.json) PrintAnswer(answer.response(), true);
  return ExitCode::kOk;
}

ExitCode RunGenerate(GenerateFlags& flags) {
  if (absl::Status status = CompletePrompt(&flags.source); !status.ok()) return FailUsage(status);
  if (absl::Status status = SetInput(flags.source, &flags.request); !status.ok())
    return FailUsage(status);
  const Interrupts interrupts;
  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(flags.connection.address);
  if (!client.ok()) return FailUsage(client.status());
  const StopOnInterrupt interrupt(interrupts);
  const CallOptions options{.timeout = flags.connection.timeout, .stop = interrupt.token()};
  return flags.no_stream ? RunUnary(**client, flags, options) : RunStream(**client, flags, options);
}

}  // namespace

void AddGenerateCommand(CLI::App& app, ExitCode* exit_code) {
  const auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command = app.add_subcommand("generate", "Asks one question and prints the answer");
  AddPromptFlags(*command, &flags->source, &flags->request);
  AddConnectionFlags(*command, absl::Minutes(10), &flags->connection);
  AddSamplingFlags(*command, flags->request.mutable_sampling());
  AddRequestFlags(*command, &flags->request);
  command->add_flag("--json", flags->json, "Print one JSON object");
  command->add_flag("--no-stream", flags->no_stream, "Ask for the whole answer at once");
  command->callback([flags, exit_code] { *exit_code = RunGenerate(*flags); });
}

}  // namespace tessera
