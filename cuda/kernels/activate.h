// Activation functions in kernels, in float32.
#pragma once

#include "engine/backend/operands.h"
#include "gpu/gpu.h"

namespace tessera::cuda {

__device__ __forceinline__ float Activate(Activation activation, float x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kGeluErf:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case Activation::kGeluTanh:
      return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case Activation::kQuickGelu:
      return x / (1.0f + expf(-1.702f * x));
    case Activation::kSilu:
      return x / (1.0f + expf(-x));
  }
  return x;
}

}  // namespace tessera::cuda
