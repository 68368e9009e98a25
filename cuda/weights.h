// Weights as the product kernels like them: [experts, out, stride] of the activations' dtype, K
// contiguous, rows padded with zeros to 16 bytes; or quantised, in the same way (W8A8) or as in
// kernels/eight_bit.h or four_bit.h.
#pragma once

#include <optional>

#include "cuda/device_memory.h"
#include "cuda/kernels/product_hopper.h"
#include "cuda/weight_format.h"
#include "engine/backend/backend.h"
#include "gpu/runtime.h"

namespace tessera {

// Elements to which rows are padded.
inline int64_t RowUnit(WeightFormat format, DType dtype) {
  switch (format) {
    case WeightFormat::kFloat8:
    case WeightFormat::kInt8:
    case WeightFormat::kInt4:
      return cuda::kBlockCols;
    case WeightFormat::kFloat8W8A8:
      return 16;
    case WeightFormat::kActivations:
      break;
  }
  return 16 / static_cast<int64_t>(DTypeBytes(dtype));
}

// Of an expert's matrix of `out` rows of `stride` columns, padding included.
inline int64_t MatrixBytes(WeightFormat format, DType dtype, int64_t out, int64_t stride) {
  const auto up = [](int64_t n, int64_t to) { return (n + to - 1) / to * to; };
  switch (format) {
    case WeightFormat::kInt4:
      return up(out, cuda::kBoxRows) / cuda::kBoxRows * (stride / cuda::kBlockCols) *
             cuda::kFourBitBoxBytes;
    case WeightFormat::kFloat8:
    case WeightFormat::kInt8:
      return up(out, cuda::kBlockRows) * stride;
    case WeightFormat::kFloat8W8A8:
      return out * stride;
    case WeightFormat::kActivations:
      break;
  }
  return out * stride * static_cast<int64_t>(DTypeBytes(dtype));
}

struct DeviceWeights {
  DeviceMemory data;
  DeviceMemory scales;  // of 8-bit numbers, float32 [experts, out]
  DeviceMemory biases;  // float32 [experts, out]; of 0 bytes where there are none
  WeightFormat format = WeightFormat::kActivations;
  int64_t experts = 1;
  int64_t out = 0;     // rows of an expert; where gated 16 for every eight columns of the result
  int64_t in = 0;      // columns; zeros from there to stride
  int64_t stride = 0;  // elements of a row
  std::optional<cuda::HopperMaps> maps;  // where Hopper's copy engine brings them

  const float* scale() const { return Floats(scales); }
  const float* bias() const { return Floats(biases); }
  size_t bytes() const { return data.bytes() + scales.bytes() + biases.bytes(); }

 private:
  static const float* Floats(const DeviceMemory& memory) {
    return memory.bytes() == 0 ? nullptr : static_cast<const float*>(memory.data());
  }
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
// weight. Of the activations' dtype whatever the format: W and B differ too much in size to share
// the scale of a row.
struct CudaLora : PackedLora {
  DeviceWeights a;           // [pieces · experts · rank, in]
  DeviceWeights base_and_b;  // [out, in + pieces · experts · rank], B of other pieces zero
  float scale = 1;
};

}  // namespace tessera
