// Stands in for amx_product.cc where the processor's family has no AMX.
#include "engine/base/check.h"
#include "engine/cpu/amx_product.h"

namespace tessera {

bool AmxAvailable() { return false; }

absl::StatusOr<AmxMatrix> PackAmx(const LinearWeights&, int) {
  return absl::UnimplementedError("this processor has no AMX");
}

void RunAmx(std::span<const AmxGroup>, Tensor, const int32_t*, Activation, Tensor, int, Arena&) {
  TESSERA_CHECK_MSG(false, "this processor has no AMX");
}

}  // namespace tessera
