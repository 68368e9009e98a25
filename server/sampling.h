// The public SamplingParams as the engine's, with every limit that generation.proto states. Pure.
// Tests: tests/server/convert_test.cc.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "tessera/v1/generation.pb.h"

namespace tessera {

// INVALID_ARGUMENT naming the field ("sampling.top_p") and the value. `seed` serves where the
// message brings none.
absl::StatusOr<SamplingParams> ToSampling(const v1::SamplingParams& message, const ModelInfo& model,
                                          uint64_t seed);

}  // namespace tessera
