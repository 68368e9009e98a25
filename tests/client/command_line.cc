#include "tests/client/command_line.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "engine/base/check.h"

namespace tessera::testing {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void Execute(const std::vector<std::string>& arguments) {
  std::vector<char*> argv = {const_cast<char*>("tessera")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(TESSERA_COMMAND, argv.data());
  _exit(126);
}

// A child with its standard streams on the far ends of three pipes; the near ends go to `near`.
pid_t StartWithPipes(const std::vector<std::string>& arguments, int near[3]) {
  int pipes[3][2];
  for (auto& ends : pipes) TESSERA_CHECK(pipe2(ends, O_CLOEXEC) == 0);
  const pid_t pid = fork();
  TESSERA_CHECK(pid >= 0);
  if (pid == 0) {
    dup2(pipes[0][0], STDIN_FILENO);
    dup2(pipes[1][1], STDOUT_FILENO);
    dup2(pipes[2][1], STDERR_FILENO);
    Execute(arguments);
  }
  close(pipes[0][0]);
  close(pipes[1][1]);
  close(pipes[2][1]);
  near[0] = pipes[0][1];
  near[1] = pipes[1][0];
  near[2] = pipes[2][0];
  return pid;
}

// -1 when it did not end in time.
int WaitFor(pid_t pid, std::chrono::seconds limit) {
  int status = 0;
  for (const auto end = Clock::now() + limit; Clock::now() < end;) {
    if (waitpid(pid, &status, WNOHANG) == pid) {
      return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  return -1;
}

// Appends what there is to read; false at the end.
bool ReadSome(int fd, std::string* text) {
  char block[4096];
  const ssize_t bytes = read(fd, block, sizeof(block));
  if (bytes <= 0) return false;
  text->append(block, static_cast<size_t>(bytes));
  return true;
}

}  // namespace

CommandResult RunCommand(const std::vector<std::string>& arguments, const std::string& in) {
  int near[3];
  const pid_t pid = StartWithPipes(arguments, near);
  CommandResult result;
  std::thread errors([&] {
    while (ReadSome(near[2], &result.err))
      ;
  });
  if (!in.empty())
    TESSERA_CHECK(write(near[0], in.data(), in.size()) == static_cast<ssize_t>(in.size()));
  close(near[0]);
  while (ReadSome(near[1], &result.out))
    ;
  errors.join();
  result.exit_code = WaitFor(pid, std::chrono::seconds(20));
  close(near[1]);
  close(near[2]);
  return result;
}

RunningCommand::RunningCommand(const std::vector<std::string>& arguments, Kind kind) {
  if (kind == Kind::kTerminal) {
    pid_ = forkpty(&out_, nullptr, nullptr, nullptr);
    TESSERA_CHECK(pid_ >= 0);
    if (pid_ == 0) Execute(arguments);
    in_ = dup(out_);
    return;
  }
  int near[3];
  pid_ = StartWithPipes(arguments, near);
  in_ = near[0];
  out_ = near[1];
  err_ = near[2];
}

RunningCommand::~RunningCommand() {
  CloseInput();
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(out_);
  if (err_ >= 0) close(err_);
}

std::string RunningCommand::ReadUntil(const std::string& text) {
  const auto end = Clock::now() + std::chrono::seconds(10);
  while (seen_.find(text) == std::string::npos && Clock::now() < end) {
    pollfd wait = {out_, POLLIN, 0};
    if (poll(&wait, 1, 100) > 0 && !ReadSome(out_, &seen_)) break;
  }
  return seen_;
}

void RunningCommand::Write(const std::string& text) {
  seen_.clear();
  TESSERA_CHECK(write(in_, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

void RunningCommand::CloseInput() {
  if (in_ >= 0) close(in_);
  in_ = -1;
}

void RunningCommand::Signal(int signal) { kill(pid_, signal); }

int RunningCommand::Wait() {
  const int code = WaitFor(pid_, std::chrono::seconds(10));
  pid_ = -1;
  return code;
}

}  // namespace tessera::testing
