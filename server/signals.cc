#include "server/signals.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace tessera {
namespace {

constexpr std::chrono::milliseconds kHurry(100);
constexpr int kExitBySignal = 128;  // the shells' convention

sigset_t Handled() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGHUP);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

Signals::Signals() {
  const sigset_t set = Handled();
  signal(SIGPIPE, SIG_IGN);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread([this] { Wait(); });
}

Signals::~Signals() {
  done_ = true;
  pthread_kill(thread_.native_handle(), SIGTERM);
  thread_.join();
}

// Those who can be told why their calls end are told; nobody is waited for.
void Signals::EndProcess(int signal) {
  second_.request_stop();
  std::this_thread::sleep_for(kHurry);
  _exit(kExitBySignal + signal);
}

void Signals::Wait() {
  const sigset_t set = Handled();
  while (true) {
    int signal = 0;
    if (sigwait(&set, &signal) != 0) continue;
    if (done_) return;
    if (signal == SIGHUP) {
      spdlog::info("got SIGHUP: there is nothing to reload, the server goes on");
      continue;
    }
    spdlog::info("got {}", signal == SIGINT ? "SIGINT" : "SIGTERM");
    if (first_.stop_requested()) EndProcess(signal);
    first_.request_stop();
  }
}

void WaitForStop(const std::stop_token& token) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any stopped;
  stopped.wait(lock, token, [] { return false; });
}

}  // namespace tessera
