#include "client/bench_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "client/answer.h"

namespace tessera {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kTick = std::chrono::milliseconds(100);
constexpr absl::Duration kGrace = absl::Seconds(10);

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What the starting thread and gRPC's threads share. Requests that never end keep it alive.
struct Board {
  const Clock::time_point start = Clock::now();
  std::mutex mutex;
  std::condition_variable changed;
  int in_flight = 0;
  std::vector<Outcome> outcomes;
};

// One request under way. Touched by its own events only, which come one at a time.
class Flight {
 public:
  Flight(std::shared_ptr<Board> board, std::optional<int> cancel_after_events,
         const std::stop_token& stop)
      : board_(std::move(board)),
        cancel_after_events_(cancel_after_events),
        stop_all_(stop, [source = stop_]() mutable { source.request_stop(); }) {
    outcome_.start_s = SecondsSince(board_->start);
  }

  std::stop_token stop_token() const { return stop_.get_token(); }

  void Cancel() { stop_.request_stop(); }

  void TakeEvent(const v1::StreamGenerateResponse& event) {
    ++events_;
    if (!order_.Add(event).ok()) outcome_.in_order = false;
    if (event.delta().token_ids_size() > 0) {
      outcome_.chunks.push_back({SecondsSince(board_->start), event.delta().token_ids_size()});
    }
    if (event.has_finish()) outcome_.usage = event.finish().usage();
    if (cancel_after_events_ == events_) Cancel();
  }

  void TakeEnd(const absl::Status& status) {
    outcome_.end_s = SecondsSince(board_->start);
    outcome_.code = status.code();
    outcome_.error = std::string(status.message());
    ++outcome_.final_statuses;
    if (status.ok() && !order_.finished()) outcome_.in_order = false;
    const std::lock_guard lock(board_->mutex);
    board_->outcomes.push_back(outcome_);
    --board_->in_flight;
    board_->changed.notify_all();
  }

 private:
  std::shared_ptr<Board> board_;
  std::optional<int> cancel_after_events_;
  int events_ = 0;
  Outcome outcome_;
  Answer order_;
  std::stop_source stop_;
  std::stop_callback<std::function<void()>> stop_all_;
};

class LoadRun {
 public:
  LoadRun(Client& client, Workload& workload, const LoadOptions& options, std::stop_token stop,
          ProgressBar& progress)
      : client_(client),
        workload_(workload),
        options_(options),
        stop_(std::move(stop)),
        progress_(progress) {}

  LoadResult Run() {
    double arrival_s = 0;
    while (result_.started < options_.requests) {
      const PlannedRequest planned = workload_.Next();
      if (options_.rate > 0) arrival_s += planned.gap / options_.rate;
      if (!WaitFor(arrival_s)) break;
      Start(planned);
    }
    WaitForEnd();
    const std::lock_guard lock(board_->mutex);
    result_.outcomes = board_->outcomes;
    result_.seconds = SecondsSince(board_->start);
    return std::move(result_);
  }

 private:
  // Until that moment has come and there is a place; false: no more requests are to start.
  bool WaitFor(double arrival_s) {
    const auto arrival = board_->start + std::chrono::duration_cast<Clock::duration>(
                                             std::chrono::duration<double>(arrival_s));
    std::unique_lock lock(board_->mutex);
    while (true) {
      const double now_s = SecondsSince(board_->start);
      if (stop_.stop_requested() || absl::Seconds(now_s) >= options_.duration) return false;
      const bool full = options_.concurrency > 0 && board_->in_flight >= options_.concurrency;
      if (now_s >= arrival_s && !full) return true;
      ShowProgressLocked();
      const auto tick = Clock::now() + kTick;
      board_->changed.wait_until(lock, now_s >= arrival_s ? tick : std::min(tick, arrival));
    }
  }

  void Start(const PlannedRequest& planned) {
    {
      const std::lock_guard lock(board_->mutex);
      result_.most_in_flight = std::max(result_.most_in_flight, ++board_->in_flight);
      ShowProgressLocked();
    }
    ++result_.started;
    auto flight = std::make_shared<Flight>(board_, planned.cancel_after_events, stop_);
    const CallOptions options{.timeout = planned.deadline.value_or(options_.timeout),
                              .stop = flight->stop_token()};
    client_.StartStreamGenerate(
        planned.request, options,
        [flight](const v1::StreamGenerateResponse& event) { flight->TakeEvent(event); },
        [flight](const absl::Status& status) { flight->TakeEnd(status); });
    if (planned.cancel_after_events == 0) flight->Cancel();
  }

  void WaitForEnd() {
    const absl::Time give_up = absl::Now() + options_.timeout + kGrace;
    std::unique_lock lock(board_->mutex);
    while (board_->in_flight > 0 && absl::Now() < give_up) {
      board_->changed.wait_for(lock, kTick);
      ShowProgressLocked();
    }
  }

  void ShowProgressLocked() {
    const double now_s = SecondsSince(board_->start);
    const double share = std::max(static_cast<double>(board_->outcomes.size()) / options_.requests,
                                  now_s / absl::ToDoubleSeconds(options_.duration));
    progress_.Update(share, fmt::format("{} done, {} in flight, {:.0f} s", board_->outcomes.size(),
                                        board_->in_flight, now_s));
  }

  Client& client_;
  Workload& workload_;
  LoadOptions options_;
  std::stop_token stop_;
  ProgressBar& progress_;
  std::shared_ptr<Board> board_ = std::make_shared<Board>();
  LoadResult result_;
};

}  // namespace

LoadResult RunLoad(Client& client, Workload& workload, const LoadOptions& options,
                   std::stop_token stop, ProgressBar& progress) {
  return LoadRun(client, workload, options, std::move(stop), progress).Run();
}

}  // namespace tessera
