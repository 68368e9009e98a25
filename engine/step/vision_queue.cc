#include "engine/step/vision_queue.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <thread>
#include <utility>

#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr double kSmFractionBeside = 0.25;  // of the device, for images while somebody decodes
constexpr std::chrono::microseconds kPause(100);  // before the device is asked again

bool Contains(const std::vector<Digest>& digests, const Digest& digest) {
  return std::find(digests.begin(), digests.end(), digest) != digests.end();
}

}  // namespace

VisionQueue::VisionQueue(const VisionEncoder* encoder, Backend& backend, bool own_stream,
                         int64_t cache_bytes, RequestTable& requests, Scheduler& scheduler,
                         TokenBudgetController& pace)
    : backend_(backend),
      own_stream_(own_stream),
      requests_(requests),
      scheduler_(scheduler),
      budget_(pace),
      encoder_(encoder, backend, cache_bytes) {}

bool VisionQueue::Advance(int decoding, bool stepping) {
  if (slice_) {
    if (!backend_.Idle()) {
      if (!stepping) std::this_thread::sleep_for(kPause);
      return true;
    }
    EndSlice();
  }
  const bool got_one = Resolve();
  if (!encoder_.busy()) return got_one;
  BeginSlice(decoding);
  if (slice_ && backend_.Idle()) EndSlice();
  return true;
}

// Gives running sequences the encoded images that are at hand and tells the encoder which ones are
// wanted. True when a sequence got one: the next plan may have rows of it.
bool VisionQueue::Resolve() {
  bool got_one = false;
  std::vector<std::shared_ptr<const PreparedImage>> wanted;
  for (Sequence* sequence : scheduler_.running()) {
    LiveRequest& request = requests_.OwnerOf(*sequence);
    for (const ImageSpan& span : sequence->prompt.spans) {
      const size_t image = static_cast<size_t>(span.image);
      if (request.images[image] != nullptr || span.begin + span.rows <= sequence->computed)
        continue;
      const std::shared_ptr<const PreparedImage>& prepared = sequence->prompt.images[image];
      request.images[image] = request.looked_up[image] ? encoder_.Peek(prepared->digest)
                                                       : encoder_.Find(prepared->digest);
      request.looked_up[image] = true;
      if (request.images[image] != nullptr) {
        sequence->image_ready[image] = got_one = true;
      } else {
        wanted.push_back(prepared);
      }
    }
  }
  encoder_.Want(std::move(wanted));
  return got_one;
}

// As much as the pace allows; all of a batch where it disturbs nobody.
void VisionQueue::BeginSlice(int decoding) {
  slice_ = Slice{Clock::now(), encoder_.Pending()};
  backend_.set_sm_fraction(decoding > 0 ? kSmFractionBeside : 1);
  const absl::StatusOr<double> flops =
      encoder_.Advance(own_stream_ ? INFINITY : budget_.VisionFlops(decoding));
  backend_.ResetArena();
  if (flops.ok()) {
    slice_->flops = *flops;
  } else {
    spdlog::error("images are not encoded: {}", std::string(StatusMessage(flops.status())));
    FailWaiters(std::exchange(slice_, std::nullopt)->images, ImageErrorForClient(flops.status()));
  }
}

void VisionQueue::EndSlice() {
  const double seconds = Seconds(Clock::now() - slice_->began);
  if (!own_stream_) {
    seconds_ += seconds;
    budget_.LearnVision(slice_->flops, seconds);
  }
  for (const Sequence* sequence : scheduler_.running()) {
    const bool had_work = std::ranges::any_of(sequence->prompt.images, [&](const auto& image) {
      return Contains(slice_->images, image->digest);
    });
    if (had_work) requests_.OwnerOf(*sequence).encode_seconds += seconds;
  }
  slice_.reset();
  Resolve();
}

void VisionQueue::Release(const StepPlan& plan) {
  for (const PlannedRows& rows : plan.rows) {
    LiveRequest& request = requests_.OwnerOf(*rows.sequence);
    for (const ImageSpan& span : rows.sequence->prompt.spans) {
      if (span.begin + span.rows > rows.sequence->computed) continue;
      const size_t image = static_cast<size_t>(span.image);
      request.images[image] = nullptr;
      request.looked_up[image] = false;
      rows.sequence->image_ready[image] = false;
    }
  }
}

void VisionQueue::FailWaiters(const std::vector<Digest>& digests, const absl::Status& status) {
  std::vector<Ticket> failed;
  for (const Sequence* sequence : scheduler_.running()) {
    const LiveRequest& request = requests_.OwnerOf(*sequence);
    for (size_t i = 0; i < sequence->prompt.images.size(); ++i) {
      const bool waits = request.images[i] == nullptr && !sequence->image_ready[i] &&
                         Contains(digests, sequence->prompt.images[i]->digest);
      if (!waits) continue;
      failed.push_back(request.ticket);
      break;
    }
  }
  for (const Ticket ticket : failed) requests_.Fail(*requests_.Find(ticket), status);
}

void VisionQueue::Publish(EngineStats& stats) const {
  stats.image_cache_bytes = encoder_.cached_bytes();
  stats.images_encoded = encoder_.counts().encoded;
  stats.image_cache_hits = encoder_.counts().hits;
  stats.image_cache_misses = encoder_.counts().misses;
  if (!own_stream_) return;
  const Fallbacks beside = backend_.fallbacks();
  for (size_t i = 0; i < beside.size(); ++i) stats.kernel_fallbacks[i] += beside[i];
}

}  // namespace tessera
