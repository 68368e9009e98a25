// The end of a tile of product_hopper_kernel.h: scale, bias, activation and rounding of a
// warpgroup's accumulators, and their way to y.
#pragma once

#include "cuda/kernels/activate.h"
#include "cuda/kernels/number.h"
#include "cuda/kernels/tiles.h"
#include "gpu/hopper.h"

namespace tessera::cuda {

constexpr int kWarpgroup = 128;     // threads
constexpr int kWarpgroupRows = 64;  // of W, wgmma's M

// The part of a Product that is left to do once the sums are there.
struct HopperOutput {
  const float* scales;  // of the rows of W [experts, out], or null
  const float* bias;    // [experts, out] or null
  int out;
  Activation activation;
  bool gated;
  const float* row_scales;  // of the rows of x, where they are of 8 bits
  const int32_t* rows;      // that the places take, or null: place p takes row p
  void* y;                  // [places, cols]
  bool wide;                // y is float32
  int64_t cols;
};

// Accumulators go through shared memory `kStagedPlaces` places at a time, as float32 [places, 64]
// with rows so padded that the lanes of a warp, which write two places apart by four, eight rows of
// W each, meet in no bank.
constexpr int kStagedPlaces = 32;
constexpr int kStagedStride = kWarpgroupRows + 4;  // floats
constexpr int kStagedFloats = kStagedPlaces * kStagedStride;

template <typename Y>
__device__ __forceinline__ void StoreColumns(const float (&values)[8], const HopperOutput& output,
                                             int64_t place, int64_t col) {
  const bool aligned = output.cols % 8 == 0 && reinterpret_cast<uintptr_t>(output.y) % 16 == 0;
  StoreEight(values, col, output.cols, aligned, static_cast<Y*>(output.y) + place * output.cols);
}

__device__ __forceinline__ void ActivateEight(Activation activation, float (&values)[8]) {
  if (activation == Activation::kNone) return;
#pragma unroll
  for (float& value : values) value = Activate(activation, value);
}

// y of the staged places [place, place + count), of the first kRows rows of W, columns from
// `first_col` on.
template <typename T, int kRows>
__device__ __forceinline__ void StoreStaged(const HopperOutput& output, const float* staged,
                                            int64_t place, int count, int64_t first_col) {
  const int pieces = kRows / (output.gated ? 16 : 8);  // of eight columns, in a row
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroup;
  const int piece = thread % pieces;
  const int64_t col = first_col + 8 * piece;
  if (col >= output.cols) return;
#pragma unroll 1
  for (int i = thread / pieces; i < count; i += kWarpgroup / pieces) {
    const float* from = staged + i * kStagedStride + piece * (output.gated ? 16 : 8);
    float values[8];
    LoadEight(from, 0, 8, true, values);
    ActivateEight(output.activation, values);
    if (output.gated) {
      float up[8];
      LoadEight(from + 8, 0, 8, true, up);
#pragma unroll
      for (int j = 0; j < 8; ++j) values[j] *= up[j];
    }
    if (output.wide) {
      StoreColumns<float>(values, output, place + i, col);
    } else {
      StoreColumns<T>(values, output, place + i, col);
    }
  }
}

// The scale of what place `place` of a tile takes.
template <bool kScaled>
__device__ __forceinline__ float PlaceScale(const HopperOutput& output, const Tile& tile,
                                            int place) {
  if (!kScaled || place >= tile.places) return 1.0f;
  const int p = tile.first_place + place;
  return output.row_scales[output.rows != nullptr ? output.rows[p] : p];
}

// Stores the warpgroup's part of a tile: d, unchanged, as MultiplyTile() leaves it, kRows rows of W
// from `first_row` on; kScaled where rows of x have scales. `barrier` is the warpgroup's own.
template <typename T, int kRows, bool kScaled, int kCount>
__device__ __forceinline__ void StoreTile(const HopperOutput& output, const Tile& tile,
                                          int first_row, float (&d)[kCount], float* staged,
                                          int barrier) {
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroup;
  const int row = thread / 32 * 16 + thread % 32 / 4;  // and row + 8, of 64
  const int column = thread % 4 * 2;                   // and the next, of each eight places
  const auto of_row = [&](const float* values, float otherwise, int r) {
    if (values == nullptr || first_row + r >= output.out) return otherwise;
    return values[int64_t{tile.expert} * output.out + first_row + r];
  };
  const float scale0 = of_row(output.scales, 1.0f, row);
  const float scale8 = of_row(output.scales, 1.0f, row + 8);
  const float bias0 = of_row(output.bias, 0.0f, row);
  const float bias8 = of_row(output.bias, 0.0f, row + 8);
#pragma unroll 1
  for (int first = 0; first < tile.places; first += kStagedPlaces) {
    // Registers have no index at run time: the part that is wanted is picked among all. Sums with
    // the bias that are made before the loop would need as many registers again.
    gpu::HoldAccumulators(d);
#pragma unroll
    for (int part = 0; part < kCount; part += kStagedPlaces / 2) {
      if (part * 2 != first) continue;
#pragma unroll
      for (int i = part; i < kCount && i < part + kStagedPlaces / 2; i += 4) {
        const int place = 2 * (i - part) + column;
        float* to = staged + place * kStagedStride + row;
        const float s0 = PlaceScale<kScaled>(output, tile, first + place);
        const float s1 = PlaceScale<kScaled>(output, tile, first + place + 1);
        to[0] = fmaf(d[i] * s0, scale0, bias0);
        to[kStagedStride] = fmaf(d[i + 1] * s1, scale0, bias0);
        to[8] = fmaf(d[i + 2] * s0, scale8, bias8);
        to[kStagedStride + 8] = fmaf(d[i + 3] * s1, scale8, bias8);
      }
    }
    gpu::SyncThreads(barrier, kWarpgroup);
    StoreStaged<T, kRows>(output, staged, tile.first_place + first,
                          tile.places - first < kStagedPlaces ? tile.places - first : kStagedPlaces,
                          output.gated ? first_row / 2 : first_row);
    gpu::SyncThreads(barrier, kWarpgroup);
  }
}

}  // namespace tessera::cuda
