#include "engine/prepare/input_pool.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <utility>

#include "engine/base/processors.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr int kTextThreads = 2;
constexpr int kImageNiceness = 5;
// Memory is given back without telling the pool: how often it looks while a request waits for some.
constexpr std::chrono::milliseconds kMemoryPoll(5);

double SecondsSince(std::optional<Clock::time_point> begin, Clock::time_point now) {
  return begin ? std::max(0.0, Seconds(now - *begin)) : 0;
}

}  // namespace

// A request in the pool. While a turn is under way it belongs to that thread, but for what is
// marked; else it is guarded by the pool's mutex.
struct InputPool::Preparation {
  std::shared_ptr<LiveRequest> live;
  Lane lane = Lane::kTexts;
  FairShare share;
  std::optional<PromptPlan> plan;  // once its first turn is over
  int32_t max_rows = 0;
  std::shared_ptr<MemoryCharge> patches;  // of all its images, once they are let in
  MemoryCharge transient;                 // of the image that is decoded
  double seconds = 0;                     // of all turns
  // Always guarded by the mutex:
  std::optional<Clock::time_point> began;       // the first turn
  std::optional<Clock::time_point> turn_began;  // while one is under way

  size_t next_image() const { return plan->prompt.images.size(); }
  bool complete() const { return plan && next_image() == plan->images.size(); }
  // The estimate for its next turn: of the first, a nanosecond for a byte.
  int64_t NextWork() const {
    return plan ? plan->images[next_image()].header.work : InputBytes(live->request.input);
  }
  void Free() {
    live->request.input = TokenPrompt{};
    live->request.memory.reset();
    plan.reset();
    patches.reset();
  }
};

// --------------------------------------------------------------------------------- from outside

void InputPool::Start(const RowLimits& limits, int32_t image_threads) {
  limits_ = limits;
  if (image_threads == 0) {
    image_threads = std::max(2, UsableProcessors().threads());
  }
  for (int i = 0; i < kTextThreads; ++i) threads_.emplace_back([this] { Run(Lane::kTexts); });
  for (int32_t i = 0; i < image_threads; ++i) {
    threads_.emplace_back([this] {
      // Of this thread alone on Linux. Where it fails, images take more from those who compute.
      (void)setpriority(PRIO_PROCESS, 0, kImageNiceness);
      Run(Lane::kImages);
    });
  }
}

void InputPool::Close() {
  std::map<Ticket, PreparationPtr> dropped;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    for (FairQueue<PreparationPtr>& turns : turns_) turns.Clear();
    short_of_memory_.clear();
    dropped = std::exchange(preparations_, {});
    for (const auto& [ticket, preparation] : dropped) {
      preparation->live->cancellation.Cancel();
      if (!preparation->turn_began) preparation->Free();
    }
  }
  for (std::condition_variable& arrived : arrived_) arrived.notify_all();
}

void InputPool::Stop() {
  Close();
  threads_.clear();
}

void InputPool::Add(std::shared_ptr<LiveRequest> request) {
  const auto preparation = std::make_shared<Preparation>();
  preparation->live = std::move(request);
  LiveRequest& live = *preparation->live;
  preparation->lane = ImagesOf(live.request.input).empty() ? Lane::kTexts : Lane::kImages;
  const std::lock_guard lock(mutex_);
  if (closed_ || live.cancellation.Requested()) {
    preparation->Free();
    return;
  }
  preparations_[live.ticket] = preparation;
  QueueTurn(preparation);
}

void InputPool::Drop(Ticket ticket) {
  PreparationPtr preparation;
  const std::lock_guard lock(mutex_);
  const auto found = preparations_.find(ticket);
  if (found == preparations_.end()) return;
  preparation = std::move(found->second);
  preparations_.erase(found);
  preparation->live->cancellation.Cancel();
  if (preparation->turn_began) return;  // freed when the turn ends
  TurnsOf(*preparation).Remove(preparation);
  std::erase(short_of_memory_, preparation);
  preparation->Free();
}

InputPoolStats InputPool::Stats(Clock::time_point now) const {
  InputPoolStats stats;
  const std::lock_guard lock(mutex_);
  stats.images = images_;
  for (const auto& [ticket, preparation] : preparations_) {
    double& oldest = preparation->began ? stats.oldest_preparing : stats.oldest_queued;
    oldest = std::max(
        oldest, SecondsSince(preparation->began.value_or(preparation->live->request.arrival), now));
    stats.longest_turn = std::max(stats.longest_turn, SecondsSince(preparation->turn_began, now));
  }
  return stats;
}

// ---------------------------------------------------------------------------------------- turns

FairQueue<InputPool::PreparationPtr>& InputPool::TurnsOf(const Preparation& preparation) {
  return turns_[static_cast<size_t>(preparation.lane)];
}

std::condition_variable& InputPool::ArrivedOf(const Preparation& preparation) {
  return arrived_[static_cast<size_t>(preparation.lane)];
}

// Behind those who wait for memory, unless it has been let in already.
void InputPool::QueueNext(const PreparationPtr& preparation) {
  if (preparation->patches != nullptr) return QueueTurn(preparation);
  short_of_memory_.push_back(preparation);
  ArrivedOf(*preparation).notify_one();
}

void InputPool::QueueTurn(PreparationPtr preparation) {
  Preparation& queued = *preparation;
  TurnsOf(queued).Push(std::move(preparation), queued.NextWork(), queued.share);
  ArrivedOf(queued).notify_one();
}

void InputPool::Run(Lane lane) {
  while (const PreparationPtr preparation = NextTurn(lane)) TakeTurn(preparation);
}

// Null once closed.
InputPool::PreparationPtr InputPool::NextTurn(Lane lane) {
  const auto index = static_cast<size_t>(lane);
  std::unique_lock lock(mutex_);
  for (;;) {
    if (closed_) return nullptr;
    if (lane == Lane::kImages) LetIn();
    if (!turns_[index].empty() && MayBegin(*turns_[index].First())) break;
    const bool memory_is_short = !short_of_memory_.empty() || !turns_[index].empty();
    if (lane == Lane::kImages && memory_is_short) {
      arrived_[index].wait_for(lock, kMemoryPoll);
    } else {
      arrived_[index].wait(lock);
    }
  }
  PreparationPtr preparation = turns_[index].Pop();
  preparation->turn_began = Clock::now();
  if (!preparation->began) {
    preparation->began = preparation->turn_began;
    preparation->live->preparing_since.store(preparation->began->time_since_epoch().count(),
                                             std::memory_order_relaxed);
  }
  return preparation;
}

// Charges the patches of those who are planned. Who has waited longest comes first, so that who
// needs much is not overtaken for ever. Where no image is held one is always let in: what else
// fills the budget may be waiting for just this.
void InputPool::LetIn() {
  while (!short_of_memory_.empty()) {
    Preparation& first = *short_of_memory_.front();
    MemoryCharge patches = memory_.Open(MemoryUse::kImages);
    if (!patches.Resize(first.plan->patch_bytes()).ok()) {
      if (memory_.bytes(MemoryUse::kImages) > 0) return;
      patches.ForceResize(first.plan->patch_bytes());
    }
    first.patches = std::make_shared<MemoryCharge>(std::move(patches));
    PreparationPtr preparation = std::move(short_of_memory_.front());
    short_of_memory_.pop_front();
    QueueTurn(std::move(preparation));
  }
}

// Charges what the next turn holds beside the patches. One image may always be decoded: what
// fills the budget may wait behind it.
bool InputPool::MayBegin(Preparation& preparation) {
  if (!preparation.plan) return true;
  const int64_t bytes = preparation.plan->images[preparation.next_image()].transient_bytes;
  MemoryCharge charge = memory_.Open(MemoryUse::kImages);
  if (!charge.Resize(bytes).ok()) {
    if (decoding_ > 0) return false;
    charge.ForceResize(bytes);
  }
  ++decoding_;
  preparation.transient = std::move(charge);
  return true;
}

void InputPool::TakeTurn(const PreparationPtr& preparation) {
  const Clock::time_point began = Clock::now();
  absl::Status status = preparation->plan ? PrepareImage(*preparation) : Plan(*preparation);
  preparation->seconds += Seconds(Clock::now() - began);
  AfterTurn(preparation, status);
}

absl::Status InputPool::Plan(Preparation& preparation) const {
  const Request& request = preparation.live->request;
  ASSIGN_OR_RETURN(PromptPlan plan, preparer_.Plan(request));
  ASSIGN_OR_RETURN(
      preparation.max_rows,
      limits_.MaxRows(static_cast<int64_t>(plan.prompt.rows.size()), request.sampling.max_tokens));
  const int64_t bytes = plan.patch_bytes() + plan.transient_bytes();  // one image after the other
  if (bytes > memory_.max_bytes()) {
    return RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kImageTooLarge, "input",
                        fmt::format("its images take {} bytes of memory while they are decoded, "
                                    "at most {} are there; send fewer or smaller ones",
                                    bytes, memory_.max_bytes()));
  }
  preparation.plan = std::move(plan);
  return absl::OkStatus();
}

absl::Status InputPool::PrepareImage(Preparation& preparation) {
  LiveRequest& live = *preparation.live;
  if (live.cancellation.Requested()) return DecodingCancelled();
  {
    const std::lock_guard lock(mutex_);
    ++images_;
  }
  ASSIGN_OR_RETURN(PreparedImage image,
                   preparer_.PrepareImage(live.request, *preparation.plan, preparation.next_image(),
                                          live.cancellation));
  preparation.plan->prompt.images.push_back(
      std::make_shared<const PreparedImage>(std::move(image)));
  return absl::OkStatus();
}

void InputPool::EndTurn(Preparation& preparation) {
  preparation.turn_began.reset();
  if (preparation.lane == Lane::kTexts) return;
  if (preparation.plan && preparation.patches != nullptr) --decoding_;
  preparation.transient.Release();
  ArrivedOf(preparation).notify_all();  // somebody may wait for the memory
}

PreparedPrompt InputPool::TakePrompt(Preparation& preparation) {
  PreparedPrompt prompt = std::move(preparation.plan->prompt);
  prompt.preprocess_seconds = preparation.seconds;
  prompt.memory = std::move(preparation.patches);
  return prompt;
}

// The request takes another turn, is prepared, refused or dropped. Of what is cancelled nothing is
// told: who cancelled it knows, and the engine's thread sees to deadlines.
void InputPool::AfterTurn(const PreparationPtr& preparation, const absl::Status& status) {
  LiveRequest& live = *preparation->live;
  std::optional<PreparedMessage> message;
  {
    const std::lock_guard lock(mutex_);
    EndTurn(*preparation);
    const bool wanted = !closed_ && !live.cancellation.Requested();
    if (wanted && status.ok() && !preparation->complete()) return QueueNext(preparation);
    preparations_.erase(live.ticket);
    if (wanted) {
      message =
          PreparedMessage{preparation->live, *preparation->began, preparation->max_rows,
                          status.ok() ? absl::StatusOr<PreparedPrompt>(TakePrompt(*preparation))
                                      : absl::StatusOr<PreparedPrompt>(status)};
    }
    preparation->Free();
  }
  if (message) inbox_.Push(*std::move(message));
}

}  // namespace tessera
