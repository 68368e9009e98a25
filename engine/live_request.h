// An accepted request from Submit() to OnFinish(): what the caller sent, where it stands, whom to tell. Owned by the engine thread, but
// for `request` and `abandoned` while the input pool prepares it.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "engine/answer.h"
#include "engine/engine.h"
#include "engine/picture_encoder.h"
#include "engine/sequence.h"

namespace tessera {

struct LiveRequest {
  Ticket ticket = 0;
  Request request;
  std::shared_ptr<OutputSink> sink;
  std::atomic<bool> abandoned = false;   // the input pool need not prepare it any more

  bool prepared = false;
  bool waiting = true;  // counted as such, until admitted or finished
  Sequence sequence;
  std::optional<Answer> answer;
  std::vector<EncodedPicturePtr> pictures;  // held from encoding until their rows are computed
  std::vector<bool> looked_up;              // in the picture cache, since last needed
  std::vector<int32_t> end_ids;

  // When stages began; unset until then.
  std::optional<Clock::time_point> prepare_began;
  std::atomic<Clock::rep> preparing_since = 0;  // written by the input pool when it begins; 0: it has not
  std::optional<Clock::time_point> admitted;
  std::optional<Clock::time_point> prefill_began;
  std::optional<Clock::time_point> first_token;
  std::optional<Clock::time_point> last_token;
  double queue_seconds = 0;
  double encode_seconds = 0;  // of batches that held its pictures
};

}  // namespace tessera
