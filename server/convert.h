// Between the public messages and the engine's values: the only file that knows both. Everything a
// message can have wrong, short of what only decoding or tokenizing shows, is found here:
// INVALID_ARGUMENT that names the field, as a path from the request, and the value. Pure functions.
// Tests: tests/server/convert_test.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "tessera/v1/generation.pb.h"
#include "tessera/v1/model.pb.h"

namespace tessera {

// What the call knows beside its message.
struct CallFacts {
  std::string request_id;
  uint64_t seed = 0;  // used where the request brings none
  std::optional<Clock::time_point> deadline;
};

// At most 128 characters, none a control character: ids are echoed in headers and logs.
absl::Status CheckRequestId(const std::string& id);

// NOT_FOUND / MODEL_NOT_FOUND unless `name` is empty or one of the served model's.
absl::Status CheckModelName(const std::string& name, const ModelInfo& model);

// Texts and images are moved from the message, not copied: give it away where it is not needed.
absl::StatusOr<Request> ToRequest(v1::GenerateRequest message, const ModelInfo& model,
                                  const CallFacts& call);
// Sampling is left at its defaults.
absl::StatusOr<Request> ToRequest(v1::CountTokensRequest message, const ModelInfo& model,
                                  const CallFacts& call);

v1::FinishReason ToProto(FinishReason reason);
v1::Usage ToProto(const Usage& usage);
v1::Model ToProto(const ModelInfo& model);
v1::TokenLogprob ToProto(const TokenLogprob& logprob);

// Appends the chunk's part `logprobs` to a delta or an answer.
void AppendLogprobs(const Chunk& chunk,
                    google::protobuf::RepeatedPtrField<v1::TokenLogprobs>* target);

}  // namespace tessera
