// The `tessera` command as a process of its own, with pipes or a terminal.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace tessera::testing {

struct CommandResult {
  int exit_code = -1;
  std::string out;
  std::string err;
};

// Runs it to its end, at most 20 s; `in` is its standard input.
CommandResult RunCommand(const std::vector<std::string>& arguments, const std::string& in = "");

// A command that runs while the test goes on.
class RunningCommand {
 public:
  enum class Kind { kPipes, kTerminal };

  RunningCommand(const std::vector<std::string>& arguments, Kind kind);
  // Kills what still runs.
  ~RunningCommand();

  // Reads standard output (a terminal: everything shown) until `text` has come or 10 s have passed;
  // all that came so far.
  std::string ReadUntil(const std::string& text);
  // To standard input (a terminal: the keys; "\x03" is Ctrl-C).
  void Write(const std::string& text);
  void CloseInput();
  void Signal(int signal);
  // Its exit code; 128 + the signal that ended it; -1 when it did not end within 10 s.
  int Wait();

 private:
  pid_t pid_ = -1;
  int in_ = -1;
  int out_ = -1;
  // Standard error; -1 on a terminal.
  int err_ = -1;
  std::string seen_;
};

}  // namespace tessera::testing
