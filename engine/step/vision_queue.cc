#include "engine/step/vision_queue.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <thread>
#include <utility>

#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr double kShareBeside = 0.25;  // of the device, for images while somebody decodes
constexpr std::chrono::microseconds kPause(100);  // before the device is asked again

bool Contains(const std::vector<Digest>& digests, const Digest& digest) {
  return std::find(digests.begin(), digests.end(), digest) != digests.end();
}

}  // namespace

VisionQueue::VisionQueue(const VisionEncoder* encoder, Backend& backend, bool own_queue,
                         int64_t cache_bytes, RequestTable& requests, Scheduler& scheduler,
                         Pace& pace)
    : backend_(backend),
      own_queue_(own_queue),
      requests_(requests),
      scheduler_(scheduler),
      pace_(pace),
      pictures_(encoder, backend, cache_bytes) {}

bool VisionQueue::Advance(int decoding, bool stepping) {
  if (slice_) {
    if (!backend_.Idle()) {
      if (!stepping) std::this_thread::sleep_for(kPause);
      return true;
    }
    EndSlice();
  }
  const bool got_one = Resolve();
  if (!pictures_.busy()) return got_one;
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
      if (request.pictures[image] != nullptr || span.begin + span.rows <= sequence->computed)
        continue;
      const std::shared_ptr<const PreparedImage>& prepared = sequence->prompt.images[image];
      request.pictures[image] = request.looked_up[image] ? pictures_.Peek(prepared->digest)
                                                         : pictures_.Find(prepared->digest);
      request.looked_up[image] = true;
      if (request.pictures[image] != nullptr) {
        sequence->image_ready[image] = got_one = true;
      } else {
        wanted.push_back(prepared);
      }
    }
  }
  pictures_.Want(std::move(wanted));
  return got_one;
}

// As much as the pace allows; all of a batch where it disturbs nobody.
void VisionQueue::BeginSlice(int decoding) {
  slice_ = Slice{Clock::now(), pictures_.Pending()};
  backend_.set_share(decoding > 0 ? kShareBeside : 1);
  const absl::StatusOr<double> flops =
      pictures_.Advance(own_queue_ ? INFINITY : pace_.VisionFlops(decoding));
  backend_.ResetArena();
  if (flops.ok()) {
    slice_->flops = *flops;
  } else {
    spdlog::error("images are not encoded: {}", std::string(StatusMessage(flops.status())));
    FailWaiters(std::exchange(slice_, std::nullopt)->pictures,
                PictureErrorForClient(flops.status()));
  }
}

void VisionQueue::EndSlice() {
  const double seconds = Seconds(Clock::now() - slice_->began);
  if (!own_queue_) {
    seconds_ += seconds;
    pace_.LearnVision(slice_->flops, seconds);
  }
  for (const Sequence* sequence : scheduler_.running()) {
    const bool had_work = std::ranges::any_of(sequence->prompt.images, [&](const auto& image) {
      return Contains(slice_->pictures, image->digest);
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
      request.pictures[image] = nullptr;
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
      const bool waits = request.pictures[i] == nullptr && !sequence->image_ready[i] &&
                         Contains(digests, sequence->prompt.images[i]->digest);
      if (!waits) continue;
      failed.push_back(request.ticket);
      break;
    }
  }
  for (const Ticket ticket : failed) requests_.Fail(*requests_.Find(ticket), status);
}

void VisionQueue::Publish(EngineStats& stats) const {
  stats.image_cache_bytes = pictures_.cached_bytes();
  stats.images_encoded = pictures_.counts().encoded;
  stats.image_cache_hits = pictures_.counts().hits;
  stats.image_cache_misses = pictures_.counts().misses;
  if (!own_queue_) return;
  const Fallbacks beside = backend_.fallbacks();
  for (size_t i = 0; i < beside.size(); ++i) stats.kernel_fallbacks[i] += beside[i];
}

}  // namespace tessera
