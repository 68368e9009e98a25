// Gathers the events of StreamGenerate into what Generate would have returned, and checks their
// order: one prompt, deltas, one finish.
#pragma once

#include "absl/status/status.h"
#include "tessera/v1/generation.pb.h"

namespace tessera {

class Answer {
 public:
  // INTERNAL when the event may not come now; it is then not taken.
  absl::Status Add(const v1::StreamGenerateResponse& event);

  // OK after the finish; INTERNAL before. To be asked when the call has ended well.
  absl::Status CheckComplete() const;

  bool finished() const { return stage_ == Stage::kFinished; }
  const v1::GenerateResponse& response() const { return response_; }

 private:
  enum class Stage { kEmpty, kPrompted, kFinished };

  Stage stage_ = Stage::kEmpty;
  v1::GenerateResponse response_;
};

}  // namespace tessera
