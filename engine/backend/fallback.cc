#include "engine/backend/fallback.h"

namespace tessera {

std::string_view FallbackReasonName(FallbackReason reason) {
  constexpr std::array<std::string_view, kFallbackReasons> kNames = {"shape", "tensor_map",
                                                                     "untuned"};
  return kNames.at(static_cast<size_t>(reason));
}

}  // namespace tessera
