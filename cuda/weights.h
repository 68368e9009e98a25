// Weights as the product kernels like them: [experts, out, stride] of the activations' dtype, K
// contiguous, rows padded with zeros to 16 bytes.
#pragma once

#include <optional>

#include "cuda/device_arena.h"
#include "engine/backend/backend.h"
#include "gpu/runtime.h"

namespace tessera {

struct DeviceWeights {
  DeviceMemory data;
  DeviceMemory biases;  // float32 [experts, out]; of 0 bytes where there are none
  int64_t experts = 1;
  int64_t out = 0;     // rows of an expert; where gated 16 for every eight columns of the result
  int64_t stride = 0;  // elements of a row
  std::optional<gpu::TensorMap> map;  // where Hopper's copy engine brings them

  const float* bias() const {
    return biases.bytes() == 0 ? nullptr : static_cast<const float*>(biases.data());
  }
  size_t bytes() const { return data.bytes() + biases.bytes(); }
};

struct CudaLinear : PackedLinear {
  DeviceWeights weights;
};

struct CudaExperts : PackedExperts {
  DeviceWeights up;  // gated: eight gates, then the eight rows they gate
  DeviceWeights down;
  Activation activation = Activation::kNone;
  bool gated = false;
};

// y = [x | g ⊙ (x Aᵀ)] · [W | B]ᵀ: the columns of the experts' B stand behind those of the dense
// weight.
struct CudaLora : PackedLora {
  DeviceWeights a;           // [pieces · experts · rank, in]
  DeviceWeights base_and_b;  // [out, in + pieces · experts · rank], B of other pieces zero
  float scale = 1;
};

}  // namespace tessera
