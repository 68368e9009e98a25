// The kernels behind RunProduct(), and what they share.
#pragma once

#include "cuda/kernels/activate.h"
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/number.h"
#include "cuda/kernels/place_tile.h"

namespace tessera::cuda {

// On CUDA cores, float32; on tensor cores by mma.sync, bfloat16 and float16 (sm_80 and newer).
void RunFloat32Product(const Product& product, Stream stream);
void RunHalfProduct(const Product& product, Stream stream);
// … with 8-bit weights, and with 4-bit ones.
void RunQuantizedProduct(const Product& product, Stream stream);
void RunFourBitProduct(const Product& product, Stream stream);

constexpr int kOutTile = 64;  // rows of W of one block

// A product as its kernels take it: x of type T, weights stored as W.
template <typename T, typename W = T>
struct ProductTask {
  explicit ProductTask(const Product& product)
      : x(product.x.as<T>()),
        in(static_cast<int>(product.x.cols())),
        rows(product.rows),
        starts(product.starts),
        places(static_cast<int>(product.places)),
        experts(static_cast<int>(product.experts)),
        weights(static_cast<const W*>(product.weights)),
        scales(product.scales),
        out(static_cast<int>(product.out)),
        stride(static_cast<int>(product.stride)),
        bias(product.bias),
        activation(product.activation),
        gated(product.gated),
        cols(static_cast<int>(product.y.cols())) {}

  const T* x;
  int in;
  const int32_t* rows;
  const int32_t* starts;
  int places;
  int experts;
  const W* weights;
  const float* scales;
  int out;
  int stride;
  const float* bias;
  Activation activation;
  bool gated;
  int cols;  // of y
};

inline gpu::Grid ProductGrid(const Product& product, int place_tile, size_t shared_bytes) {
  return {dim3(static_cast<unsigned>((product.out + kOutTile - 1) / kOutTile),
               static_cast<unsigned>(MostPlaceTiles(product.places, product.experts, place_tile) +
                                     (product.starts == nullptr ? 1 : 0))),
          128, shared_bytes};
}

// The bias of row `row` of W, rows beyond W have none.
template <typename T, typename W>
__device__ __forceinline__ float Bias(const ProductTask<T, W>& task, int expert, int row) {
  return task.bias == nullptr || row >= task.out ? 0.0f : task.bias[expert * task.out + row];
}
// What the numbers of row `row` of W are multiplied with.
template <typename T, typename W>
__device__ __forceinline__ float Scale(const ProductTask<T, W>& task, int expert, int row) {
  return task.scales == nullptr || row >= task.out ? 1.0f : task.scales[expert * task.out + row];
}

// The row of x that place `place` takes.
template <typename T, typename W>
__device__ __forceinline__ int64_t RowOf(const ProductTask<T, W>& task, int place) {
  return task.rows == nullptr ? place : task.rows[place];
}

}  // namespace tessera::cuda
