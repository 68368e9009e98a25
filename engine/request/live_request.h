// An accepted request from Submit() to OnFinish(): what the caller sent, where it stands, whom to
// tell. Owned by the engine thread, but for `request.input` and `request.memory`, which are the
// input pool's until it has prepared or dropped the request.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "engine/api/request.h"
#include "engine/base/cancellation.h"
#include "engine/model/image_features.h"
#include "engine/request/answer.h"
#include "engine/schedule/sequence.h"

namespace tessera {

// That the caller, the engine or the request's deadline has ended it. Any thread.
class RequestCancellation final : public Cancellation {
 public:
  // Before another thread sees it.
  void set_deadline(std::optional<Clock::time_point> deadline) { deadline_ = deadline; }
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool Requested() const override {
    return cancelled_.load(std::memory_order_relaxed) || (deadline_ && Clock::now() >= *deadline_);
  }

 private:
  std::atomic<bool> cancelled_ = false;
  std::optional<Clock::time_point> deadline_;
};

struct LiveRequest {
  Ticket ticket = 0;
  Request request;
  std::shared_ptr<OutputSink> sink;
  RequestCancellation cancellation;  // it need not be prepared any more

  bool prepared = false;
  bool waiting = true;  // counted as such, until admitted or finished
  Sequence sequence;
  std::optional<Answer> answer;
  std::vector<ImageFeaturesPtr> images;  // held from encoding until their rows are computed
  std::vector<bool> looked_up;           // in the image cache, since last needed
  std::vector<int32_t> end_ids;

  // When stages began; unset until then.
  std::optional<Clock::time_point> prepare_ended;
  // written by the input pool when it begins; 0: it has not
  std::atomic<Clock::rep> preparing_since = 0;
  std::optional<Clock::time_point> admitted;
  std::optional<Clock::time_point> prefill_began;
  std::optional<Clock::time_point> first_token;
  std::optional<Clock::time_point> last_token;
  double queue_seconds = 0;
  double encode_seconds = 0;  // of batches that held its images
};

}  // namespace tessera
