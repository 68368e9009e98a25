// `tessera models`: what is served.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "client/client.h"
#include "client/commands.h"
#include "client/flags.h"
#include "client/interrupt.h"
#include "client/json.h"
#include "client/terminal.h"

namespace tessera {
namespace {

struct ModelsFlags {
  ConnectionFlags connection;
  bool json = false;
};

// "1.6 B", "3.2 M".
std::string Count(int64_t count) {
  if (count >= 1'000'000'000) return fmt::format("{:.1f} B", 1e-9 * static_cast<double>(count));
  return fmt::format("{:.1f} M", 1e-6 * static_cast<double>(count));
}

std::string Describe(const v1::Model& model) {
  std::string text = fmt::format("{}  {}, {} on {}\n", TerminalWords(model.name()),
                                 TerminalWords(model.architecture()), TerminalWords(model.dtype()),
                                 TerminalWords(model.device()));
  text += fmt::format("  parameters  {}, {} active, {:.1f} MiB\n", Count(model.parameters()),
                      Count(model.active_parameters()),
                      static_cast<double>(model.weight_bytes()) / (1 << 20));
  text +=
      fmt::format("  layers      {}, {} of them with {} experts, {} per token\n", model.layers(),
                  model.moe_layers(), model.experts(), model.experts_per_token());
  text += fmt::format("  context     {} tokens\n", model.max_context_tokens());
  if (!model.takes_images()) return text + "  images    none\n";
  const std::string each = model.tokens_per_image() > 0
                               ? fmt::format("{} tokens each", model.tokens_per_image())
                               : "tokens by size";
  return text + fmt::format("  images    at most {}, {}\n", model.max_images(), each);
}

ExitCode RunModels(const ModelsFlags& flags) {
  const Interrupts interrupts;
  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(flags.connection.address);
  if (!client.ok()) return FailUsage(client.status());
  const StopOnInterrupt interrupt(interrupts);
  const absl::StatusOr<v1::ListModelsResponse> list =
      (*client)->ListModels({.timeout = flags.connection.timeout, .stop = interrupt.token()});
  if (!list.ok()) return FailCall(list.status(), interrupt.token());
  Json json = Json::array();
  for (const v1::Model& model : list->models()) {
    json.push_back(ModelJson(model));
    if (!flags.json) std::fputs(Describe(model).c_str(), stdout);
  }
  if (flags.json) std::fputs(Print(json).c_str(), stdout);
  return ExitCode::kOk;
}

}  // namespace

void AddModelsCommand(CLI::App& app, ExitCode* exit_code) {
  const auto flags = std::make_shared<ModelsFlags>();
  CLI::App* command = app.add_subcommand("models", "Lists the served models");
  AddConnectionFlags(*command, absl::Seconds(10), &flags->connection);
  command->add_flag("--json", flags->json, "Print a JSON array");
  command->callback([flags, exit_code] { *exit_code = RunModels(*flags); });
}

}  // namespace tessera
