// `tessera count`: how many tokens an input takes.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "client/client.h"
#include "client/commands.h"
#include "client/flags.h"
#include "client/interrupt.h"
#include "client/json.h"
#include "client/prompt.h"

namespace tessera {
namespace {

struct CountFlags {
  ConnectionFlags connection;
  PromptSource source;
  v1::GenerateRequest request;
  bool json = false;
};

ExitCode RunCount(CountFlags& flags) {
  if (absl::Status status = CompletePrompt(&flags.source); !status.ok()) return FailUsage(status);
  if (absl::Status status = SetInput(flags.source, &flags.request); !status.ok())
    return FailUsage(status);
  const Interrupts interrupts;
  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(flags.connection.address);
  if (!client.ok()) return FailUsage(client.status());
  const StopOnInterrupt interrupt(interrupts);
  const absl::StatusOr<v1::CountTokensResponse> count =
      (*client)->CountTokens(CountRequest(flags.request),
                             {.timeout = flags.connection.timeout, .stop = interrupt.token()});
  if (!count.ok()) return FailCall(count.status(), interrupt.token());
  const std::string text = fmt::format("{} tokens: {} text, {} image\n", count->prompt_tokens(),
                                       count->text_tokens(), count->image_tokens());
  std::fputs(flags.json ? Print(CountJson(*count)).c_str() : text.c_str(), stdout);
  return ExitCode::kOk;
}

}  // namespace

void AddCountCommand(CLI::App& app, ExitCode* exit_code) {
  const auto flags = std::make_shared<CountFlags>();
  CLI::App* command =
      app.add_subcommand("count", "Counts the tokens of a question without running it");
  AddPromptFlags(*command, &flags->source, &flags->request);
  AddImageLimitFlag(*command, &flags->request);
  AddConnectionFlags(*command, absl::Minutes(1), &flags->connection);
  command->add_flag("--json", flags->json, "Print one JSON object, with the prompt's token ids");
  command->callback([flags, exit_code] { *exit_code = RunCount(*flags); });
}

}  // namespace tessera
