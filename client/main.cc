// The `tessera` command: asks a server questions, measures it, tells what it serves.
//
// Exit codes: 0 ok, 1 the output could not be written, 2 usage, 3 unavailable or not serving, 4
// rejected request, 5 server error, 124 deadline, 130 interrupted.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "client/commands.h"

namespace {

std::string OneLineFailure(const CLI::App*, const CLI::Error& error) {
  return "error: " + std::string(error.what()) +
         "\nRun tessera --help or tessera COMMAND --help.\n";
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Client of the Tessera inference server"};
  app.require_subcommand(1);
  app.failure_message(OneLineFailure);
  tessera::ExitCode exit_code = tessera::ExitCode::kOk;
  tessera::AddGenerateCommand(app, &exit_code);
  tessera::AddChatCommand(app, &exit_code);
  tessera::AddCountCommand(app, &exit_code);
  tessera::AddModelsCommand(app, &exit_code);
  tessera::AddHealthCommand(app, &exit_code);
  tessera::AddBenchCommand(app, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(tessera::ExitCode::kUsage);
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    std::perror("error: cannot write the output");
    return static_cast<int>(tessera::ExitCode::kOutputFailed);
  }
  return static_cast<int>(exit_code);
}
