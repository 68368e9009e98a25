// The subcommands of `tessera`. Each function adds one to `app`; when the command line names it, it
// runs while the line is parsed and puts its exit code into `*exit_code`.
#pragma once

#include <CLI/App.hpp>

#include "client/exit_code.h"

namespace tessera {

void AddGenerateCommand(CLI::App& app, ExitCode* exit_code);
void AddChatCommand(CLI::App& app, ExitCode* exit_code);
void AddCountCommand(CLI::App& app, ExitCode* exit_code);
void AddModelsCommand(CLI::App& app, ExitCode* exit_code);
void AddHealthCommand(CLI::App& app, ExitCode* exit_code);
void AddBenchCommand(CLI::App& app, ExitCode* exit_code);

}  // namespace tessera
