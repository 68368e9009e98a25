// The images that running sequences wait for: which of them are at hand, what the encoder works on,
// and who is told when it fails.
//
// Where the encoder has the decoder's queue of work it advances by as much as the pace allows in
// each step; where it has a queue of its own, a batch of images is queued whole and is done when
// that queue is idle. A request holds its encoded images from when they are at hand until their
// rows are computed; a preempted sequence's are looked up again. Thread: the engine's.
#pragma once

#include <optional>
#include <vector>

#include "engine/model/vision_encoder.h"
#include "engine/schedule/scheduler.h"
#include "engine/schedule/token_budget_controller.h"
#include "engine/step/image_encoder.h"
#include "engine/step/request_table.h"

namespace tessera {

class VisionQueue {
 public:
  // `encoder` is null for models that take no images; it works on `backend`. `own_stream`: that is
  // not the one that the steps are queued on. All must outlive the queue.
  VisionQueue(const VisionEncoder* encoder, Backend& backend, bool own_stream, int64_t cache_bytes,
              RequestTable& requests, Scheduler& scheduler, TokenBudgetController& pace);

  // Whether there is work that takes time from the steps.
  bool delays_steps() const { return encoder_.busy() && !own_stream_; }
  // Advances the encoder beside `decoding` sequences. False when nothing came of it: no image is
  // waited for and none was at hand. `stepping`: a step is in flight, so nobody waits for this
  // queue alone.
  bool Advance(int decoding, bool stepping);
  // What the plan has computed all rows of is let go. After Scheduler::Advance().
  void Release(const StepPlan& plan);

  // Of the step under way; 0 where the encoder has a queue of its own.
  double TakeSeconds() { return std::exchange(seconds_, 0); }
  void Publish(EngineStats& stats) const;

 private:
  // Work that the encoder's device is busy with.
  struct Slice {
    Clock::time_point began;
    std::vector<Digest> images;
    double flops = 0;
  };

  void BeginSlice(int decoding);
  void EndSlice();
  bool Resolve();
  void FailWaiters(const std::vector<Digest>& digests, const absl::Status& status);

  Backend& backend_;
  const bool own_stream_;
  RequestTable& requests_;
  Scheduler& scheduler_;
  TokenBudgetController& budget_;
  ImageEncoder encoder_;
  std::optional<Slice> slice_;
  double seconds_ = 0;
};

}  // namespace tessera
