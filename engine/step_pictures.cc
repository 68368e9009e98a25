// The step loop's work on pictures: which running sequences wait for which, and who holds the results.
#include "engine/step_loop.h"

#include <algorithm>

namespace tessera {

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

// Advances the encoder by what the pace allows. False when nothing came of it: no picture is waited for and none was at hand.
bool StepLoop::EncodePictures(int decoding) {
  const bool got_one = ResolvePictures();
  if (!pictures_.busy()) return got_one;
  const std::vector<Digest> batch = pictures_.Pending();
  const Clock::time_point begin = Clock::now();
  const absl::StatusOr<double> flops = pictures_.Advance(pace_.VisionFlops(decoding));
  backend_.ResetArena();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  backend_seconds_ += seconds;
  if (flops.ok()) pace_.LearnVision(*flops, seconds);
  for (Sequence* sequence : scheduler_.running()) {
    for (const auto& image : sequence->prompt.images) {
      if (std::find(batch.begin(), batch.end(), image->digest) == batch.end()) continue;
      sequence->owner->encode_seconds += seconds;
      break;
    }
  }
  if (!flops.ok()) FailPictureWaiters(batch, flops.status());
  ResolvePictures();
  return true;
}

// Lets go of pictures all rows of which are computed; a preempted sequence looks them up again.
void StepLoop::ReleasePictures(const StepPlan& plan) {
  for (const PlannedRows& rows : plan.rows) {
    LiveRequest& request = *rows.sequence->owner;
    for (const ImageSpan& span : rows.sequence->prompt.spans) {
      const size_t image = static_cast<size_t>(span.image);
      if (span.begin + span.rows > rows.sequence->computed) continue;
      request.pictures[image].reset();
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
