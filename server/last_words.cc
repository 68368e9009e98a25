#include "server/last_words.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <thread>

#include "server/log.h"

namespace tessera {
namespace {

constexpr int kExitFailure = 1;

// For when there may be no memory for a line of log.
constexpr char kNoMemory[] = "tessera-server: out of memory; the process ends\n";

// Libraries that use what they allocate without a look end so where memory is short.
constexpr char kBadAccess[] =
    "tessera-server: the process ends by a bad memory access (SIGSEGV): if memory is short, give "
    "the process more, else please report it\n";

[[noreturn]] void EndForLackOf(const std::string& what) {
  LogLast(
      fmt::format("out of threads or memory ({}): give the process more, or lower --threads, "
                  "--kv-cache-mib or --max-waiting",
                  what));
  _exit(kExitFailure);
}

[[noreturn]] void OnTerminate() {
  try {
    const std::exception_ptr cause = std::current_exception();
    if (cause != nullptr) std::rethrow_exception(cause);
    LogLast("the process ends: std::terminate() was called");
  } catch (const std::bad_alloc& error) {
    EndForLackOf(error.what());
  } catch (const std::system_error& error) {
    if (error.code() == std::errc::resource_unavailable_try_again ||
        error.code() == std::errc::not_enough_memory) {
      EndForLackOf(error.what());
    }
    LogLast(fmt::format("the process ends: nobody caught \"{}\"", error.what()));
  } catch (const std::exception& error) {
    LogLast(fmt::format("the process ends: nobody caught \"{}\"", error.what()));
  } catch (...) {
    LogLast("the process ends: nobody caught an exception");
  }
  std::abort();
}

void OnAbort(int) { FlushLog(); }

// The access is repeated afterwards and ends the process. Async-signal-safe.
void OnBadAccess(int) {
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kBadAccess, sizeof(kBadAccess) - 1);
}

// Sanitizers have a handler of their own, which tells more.
void HandleBadAccess() {
  struct sigaction present {};
  sigaction(SIGSEGV, nullptr, &present);
  if ((present.sa_flags & SA_SIGINFO) != 0 || present.sa_handler != SIG_DFL) return;
  struct sigaction action {};
  action.sa_handler = OnBadAccess;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGSEGV, &action, nullptr);
}

}  // namespace

void EndAtOnceOnFailure() {
  on_exit(
      [](int status, void*) {
        if (status == EXIT_SUCCESS) return;
        FlushLog();
        _exit(status);
      },
      nullptr);
}

void EndIfThreadsHaveRunOut(const std::string& what) {
  try {
    std::thread([] {}).join();
  } catch (const std::system_error&) {
    EndForLackOf(what);
  }
}

void TellWhyTheProcessEnds() {
  std::set_terminate([] {
    try {
      OnTerminate();
    } catch (...) {  // no memory to tell it with
      [[maybe_unused]] const ssize_t written =
          write(STDERR_FILENO, kNoMemory, sizeof(kNoMemory) - 1);
      _exit(kExitFailure);
    }
  });
  struct sigaction action {};
  action.sa_handler = OnAbort;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // then abort() ends the process
  sigaction(SIGABRT, &action, nullptr);
  HandleBadAccess();
}

}  // namespace tessera
