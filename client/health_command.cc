// `tessera health`: exit code 0 when the server is serving, 3 when not; for scripts and probes.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "client/client.h"
#include "client/commands.h"
#include "client/flags.h"
#include "client/interrupt.h"

namespace tessera {
namespace {

struct HealthFlags {
  ConnectionFlags connection;
  std::string service;
};

const char* Name(ServingStatus status) {
  switch (status) {
    case ServingStatus::kServing:
      return "SERVING";
    case ServingStatus::kNotServing:
      return "NOT_SERVING";
    case ServingStatus::kServiceUnknown:
      return "SERVICE_UNKNOWN";
    case ServingStatus::kUnknown:
      break;
  }
  return "UNKNOWN";
}

ExitCode RunHealth(const HealthFlags& flags) {
  const Interrupts interrupts;
  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(flags.connection.address);
  if (!client.ok()) return FailUsage(client.status());
  const StopOnInterrupt interrupt(interrupts);
  const absl::StatusOr<ServingStatus> status = (*client)->Health(
      flags.service, {.timeout = flags.connection.timeout, .stop = interrupt.token()});
  if (!status.ok()) {
    const ExitCode code = FailCall(status.status(), interrupt.token());
    return code == ExitCode::kInterrupted ? code : ExitCode::kUnavailable;
  }
  std::puts(Name(*status));
  return *status == ServingStatus::kServing ? ExitCode::kOk : ExitCode::kUnavailable;
}

}  // namespace

void AddHealthCommand(CLI::App& app, ExitCode* exit_code) {
  const auto flags = std::make_shared<HealthFlags>();
  CLI::App* command =
      app.add_subcommand("health", "Asks whether the server is serving (exit code 0) or not (3)");
  AddConnectionFlags(*command, absl::Seconds(10), &flags->connection);
  command
      ->add_option(
          "--service", flags->service,
          "A service's full name, such as tessera.v1.GenerationService; default: the whole server")
      ->check(IsUtf8);
  command->callback([flags, exit_code] { *exit_code = RunHealth(*flags); });
}

}  // namespace tessera
