#include "cuda/fallback_log.h"

#include <spdlog/spdlog.h>

namespace tessera {
namespace {

const char* Explanation(FallbackReason reason) {
  switch (reason) {
    case FallbackReason::kShape:
      return "does not fit the Hopper kernel and runs on the one for older GPUs";
    case FallbackReason::kTensorMap:
      return "has weights that the driver makes no tensor map of and runs on the kernel for older "
             "GPUs";
    case FallbackReason::kUntuned:
      break;
  }
  return "has no measured tiles; a rule chooses them";
}

}  // namespace

void FallbackLog::Note(FallbackReason reason, const ProductShape& shape) {
  if (!noted_.emplace(reason, shape).second) return;
  ++counts_.at(static_cast<size_t>(reason));
  spdlog::warn("slow path: product {} {}", ToString(shape), Explanation(reason));
}

}  // namespace tessera
