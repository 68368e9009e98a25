#include "server/drain.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace tessera {
namespace {

constexpr std::chrono::milliseconds kPoll(20);
constexpr std::chrono::seconds kReadTime(1);  // for the ends of calls that were cut

// Until all calls are answered and read, the deadline has passed, or `hurry` is asked for.
void WaitForCalls(const RpcMetrics& calls, Clock::time_point deadline,
                  const std::stop_token& hurry) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any stopped;
  while (calls.open_calls() + calls.unread_calls() > 0 && Clock::now() < deadline &&
         !hurry.stop_requested()) {
    stopped.wait_for(lock, hurry, kPoll, [] { return false; });
  }
}

}  // namespace

DrainReport Drain(Engine* engine, const RpcMetrics& calls, Clock::time_point deadline,
                  const std::stop_token& hurry) {
  if (engine != nullptr) engine->Drain();
  DrainReport report;
  WaitForCalls(calls, deadline, hurry);
  report.aborted = calls.open_calls();
  if (engine != nullptr) engine->Shutdown();
  WaitForCalls(calls, Clock::now() + kReadTime, hurry);
  report.unread = calls.open_calls() + calls.unread_calls();
  return report;
}

}  // namespace tessera
