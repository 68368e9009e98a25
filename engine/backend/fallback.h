// Where a device does not compute as it does best: reasons and counts.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace tessera {

enum class FallbackReason : uint8_t {
  kShape,      // the fast kernel does not take products of this shape
  kTensorMap,  // the device could not describe the weights to its copy engine
  kUntuned,    // tiles are tuned, but not for this shape: a rule chooses
};
constexpr int kFallbackReasons = 3;
std::string_view FallbackReasonName(FallbackReason reason);

// By reason: shapes of matrix products, each counted once.
using Fallbacks = std::array<uint64_t, kFallbackReasons>;

}  // namespace tessera
