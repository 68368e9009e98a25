// `tessera chat`: a conversation, turn by turn. On a terminal Ctrl-C stops the answer; pressed
// again, with no line between, it leaves.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "client/chat.h"
#include "client/client.h"
#include "client/commands.h"
#include "client/flags.h"
#include "client/interrupt.h"

namespace tessera {
namespace {

struct ChatFlags {
  ConnectionFlags connection;
  v1::GenerateRequest request;
  std::vector<std::string> images;
  std::string system;
};

ExitCode RunChat(const ChatFlags& flags) {
  const Interrupts interrupts;
  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(flags.connection.address);
  if (!client.ok()) return FailUsage(client.status());
  Chat chat(**client, flags.request, flags.connection.timeout, interrupts);
  if (!flags.system.empty()) chat.SetSystem(flags.system);
  for (const std::string& path : flags.images) {
    if (absl::Status status = chat.AddImage(path); !status.ok()) return FailUsage(status);
  }
  return chat.Run();
}

}  // namespace

void AddChatCommand(CLI::App& app, ExitCode* exit_code) {
  const auto flags = std::make_shared<ChatFlags>();
  CLI::App* command =
      app.add_subcommand("chat", "Talks with the model, turn by turn; /help tells more");
  command->add_option("--image", flags->images, "An image for the first question; repeatable")
      ->allow_extra_args(false);
  command->add_option("--system", flags->system, "Replaces the model's system text")->check(IsUtf8);
  command
      ->add_option_function<std::string>(
          "--model", [flags](const std::string& name) { flags->request.set_model(name); },
          "A served model's name")
      ->check(IsUtf8);
  AddConnectionFlags(*command, absl::Minutes(10), &flags->connection);
  AddSamplingFlags(*command, flags->request.mutable_sampling());
  AddRequestFlags(*command, &flags->request);
  command->callback([flags, exit_code] { *exit_code = RunChat(*flags); });
}

}  // namespace tessera
