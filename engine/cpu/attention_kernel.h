// The inner part of attention: a tile of queries against one tile of keys after another, with a
// running softmax (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; tiled
// as in Dao et al., "FlashAttention", 2022).
//
// Invariant: tiles are cut at absolute key positions and every sum runs in one fixed order, so a
// row's bits depend on its own query and keys only: not on the other rows of the tile, nor on how a
// sequence was cut into passes.
#pragma once

#include <cstdint>

#include "engine/backend/tensor.h"
#include "engine/cpu/aligned_memory.h"

namespace tessera {

constexpr int64_t kKeyTile = 32;

// Rows of queries that look at the same keys, and their state. Strides are padded to whole vectors.
struct QueryTile {
  QueryTile() = default;
  QueryTile(int64_t max_rows, int64_t head_dim, Arena& arena);

  int64_t rows = 0;
  int64_t head_dim = 0;
  int64_t stride = 0;        // of `sums` and `values`
  float* queries = nullptr;  // [rows, head_dim], already scaled
  float* sums = nullptr;     // [rows, stride], of probability · value; the result after Finish
  float* scores = nullptr;   // [rows, kKeyTile]
  float* maxima = nullptr;   // [rows]
  float* totals = nullptr;   // [rows, kKeyTile]: of probabilities, by key modulo vector length
  int64_t* first = nullptr;  // [rows], of the keys that a row sees
  int64_t* last = nullptr;   // [rows], inclusive; both never fall from one row to the next
  float* keys = nullptr;     // [head_dim, kKeyTile]
  float* values = nullptr;   // [kKeyTile, stride]
  float* widened = nullptr;  // [kKeyTile, stride]
};

namespace attention {

// Forgets the tile before. Queries, first, last and rows are set by the caller.
void Start(QueryTile& tile);
// Adds keys [key_begin, key_begin + kKeyTile), where key_begin is a multiple of kKeyTile. keys[i]
// and values[i] point to head_dim elements of `dtype`; null for keys that no row sees.
void AddKeys(QueryTile& tile, DType dtype, int64_t key_begin, const void* const* keys,
             const void* const* values);
// Divides the sums by their totals.
void Finish(QueryTile& tile);

}  // namespace attention
}  // namespace tessera
