#include "server/drain.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace tessera {
namespace {

constexpr std::chrono::milliseconds kPoll(20);
constexpr std::chrono::seconds kReadTime(1);  // for the ends of calls that were cut

// Calls still open when none is, the deadline has passed, or `hurry` is asked for.
int64_t WaitForCalls(const RpcMetrics& calls, Clock::time_point deadline,
                     const std::stop_token& hurry) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any stopped;
  while (calls.open_calls() > 0 && Clock::now() < deadline && !hurry.stop_requested()) {
    stopped.wait_for(lock, hurry, kPoll, [] { return false; });
  }
  return calls.open_calls();
}

}  // namespace

DrainReport Drain(Engine* engine, const RpcMetrics& calls, Clock::time_point deadline,
                  const std::stop_token& hurry) {
  if (engine != nullptr) engine->Drain();
  DrainReport report;
  report.aborted = WaitForCalls(calls, deadline, hurry);
  if (engine != nullptr) engine->Shutdown();
  if (report.aborted > 0) report.unread = WaitForCalls(calls, Clock::now() + kReadTime, hurry);
  return report;
}

}  // namespace tessera
