// The step loop's work on pictures: which running sequences wait for which, and who holds the results.
#include "engine/step/step_loop.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <thread>
#include <utility>

#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr double kShareBeside = 0.25;  // of the device, for pictures while somebody decodes
constexpr std::chrono::microseconds kPause(100);  // before the device is asked again

}  // namespace

// Gives running sequences the encoded pictures that are at hand and tells the encoder which ones are wanted. True when a sequence got one:
// the next plan may have rows of it.
bool StepLoop::ResolvePictures() {
  bool got_one = false;
  std::vector<std::shared_ptr<const PreparedImage>> wanted;
  for (Sequence* sequence : scheduler_.running()) {
    LiveRequest& request = *sequence->owner;
    for (const ImageSpan& span : sequence->prompt.spans) {
      const size_t image = static_cast<size_t>(span.image);
      if (request.pictures[image] != nullptr || span.begin + span.rows <= sequence->computed) continue;
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

// Advances the encoder. False when nothing came of it: no picture is waited for and none was at hand.
bool StepLoop::EncodePictures(int decoding) {
  if (slice_) {
    if (!model_.vision->backend().Idle()) {
      if (!flight_) std::this_thread::sleep_for(kPause);
      return true;
    }
    EndSlice();
  }
  const bool got_one = ResolvePictures();
  if (!pictures_.busy()) return got_one;
  BeginSlice(decoding);
  if (slice_ && model_.vision->backend().Idle()) EndSlice();
  return true;
}

// As much as the pace allows; all of a batch where it disturbs nobody.
void StepLoop::BeginSlice(int decoding) {
  Backend& backend = model_.vision->backend();
  slice_ = Slice{Clock::now(), pictures_.Pending()};
  backend.set_share(decoding > 0 ? kShareBeside : 1);
  const absl::StatusOr<double> flops =
      pictures_.Advance(vision_beside_ ? INFINITY : pace_.VisionFlops(decoding));
  backend.ResetArena();
  if (flops.ok()) {
    slice_->flops = *flops;
  } else {
    spdlog::error("pictures are not encoded: {}", std::string(StatusMessage(flops.status())));
    FailPictureWaiters(std::exchange(slice_, std::nullopt)->pictures,
                       PictureErrorForClient(flops.status()));
  }
}

void StepLoop::EndSlice() {
  const double seconds = Seconds(Clock::now() - slice_->began);
  if (!vision_beside_) {
    backend_seconds_ += seconds;
    pace_.LearnVision(slice_->flops, seconds);
  }
  for (Sequence* sequence : scheduler_.running()) {
    for (const auto& image : sequence->prompt.images) {
      if (std::find(slice_->pictures.begin(), slice_->pictures.end(), image->digest) ==
          slice_->pictures.end()) {
        continue;
      }
      sequence->owner->encode_seconds += seconds;
      break;
    }
  }
  slice_.reset();
  ResolvePictures();
}

// Pictures all rows of which are computed are held by the flight alone; a preempted sequence looks them up again.
void StepLoop::ReleasePictures(const StepPlan& plan, Flight& flight) {
  for (const PlannedRows& rows : plan.rows) {
    LiveRequest& request = *rows.sequence->owner;
    for (const ImageSpan& span : rows.sequence->prompt.spans) {
      const size_t image = static_cast<size_t>(span.image);
      if (span.begin + span.rows > rows.sequence->computed) continue;
      if (request.pictures[image] != nullptr) {
        flight.pictures.push_back(std::exchange(request.pictures[image], nullptr));
      }
      request.looked_up[image] = false;
      rows.sequence->image_ready[image] = false;
    }
  }
}

void StepLoop::FailPictureWaiters(const std::vector<Digest>& digests, const absl::Status& status) {
  std::vector<LiveRequest*> failed;
  for (const Sequence* sequence : scheduler_.running()) {
    for (size_t i = 0; i < sequence->prompt.images.size(); ++i) {
      const bool waits = sequence->owner->pictures[i] == nullptr && !sequence->image_ready[i] &&
                         std::find(digests.begin(), digests.end(),
                                   sequence->prompt.images[i]->digest) != digests.end();
      if (waits) {
        failed.push_back(sequence->owner);
        break;
      }
    }
  }
  for (LiveRequest* request : failed) {
    Finish(*request, status, FinishReason::kNone, Outcome::kFailed);
  }
}

}  // namespace tessera
