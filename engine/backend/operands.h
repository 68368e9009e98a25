// What operations are told besides tensors: plain data that kernels of every device include.
#pragma once

#include "engine/backend/tensor.h"

namespace tessera {

enum class Activation : uint8_t {
  kNone,
  kGeluErf,    // x · Φ(x)
  kGeluTanh,   // its tanh approximation ("gelu_new", "gelu_pytorch_tanh")
  kQuickGelu,  // x · σ(1.702 x)
  kSilu,       // x · σ(x)
};

enum class NormKind : uint8_t { kLayerNorm, kRmsNorm };
struct NormWeights {
  NormKind kind = NormKind::kLayerNorm;
  float epsilon = 1e-5f;
  Tensor weight;  // float32 [hidden]
  Tensor bias;    // float32 [hidden], empty for none
};

// Rotary embedding of the first 2·pairs dims of each head, rotate-half (pair i is dims i and i +
// pairs).
struct Rope {
  Tensor cosine;     // float32 [max_position, pairs]
  Tensor sine;       // float32 [max_position, pairs]
  Tensor pair_axis;  // int32 [pairs]: which row of PagedBatch::positions rotates pair i
};

struct AttentionShape {
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  float scale = 0;         // of the query·key products
  int sliding_window = 0;  // keys further back than this are not seen; 0: all are
};

// Norms of each head's query and key before they are rotated, over head_dim; empty for none.
struct HeadNorms {
  NormWeights query;
  NormWeights key;
};

// One layer's paged cache. A slot is block · block_size + offset.
//
// Of 8 bits (DType::kFloat8) a row is its scale times its numbers. The scale is the power of two
// that brings the row's largest magnitude into (224, 448], 1 where that is 0, bounded so that the
// activations' dtype holds it and 448 times it: the row alone decides, and widening is exact but
// for numbers below what that dtype holds. A row that is not finite has an infinite scale and
// zeros: what sees it is NaN.
struct KvLayer {
  // [blocks, kv_heads, block_size, head_dim] of the activations' dtype or of 8 bits
  Tensor keys;
  Tensor values;        // the same
  Tensor key_scales;    // float32 [blocks, kv_heads, block_size] of keys of 8 bits, else empty
  Tensor value_scales;  // the same
};

// One pass over S sequences with T new rows in all, flattened. Worked example: sequences A (2 new
// rows after 3 cached) and B (1 new row after none), block_size 4, A in blocks 7, 2 and B in block
// 5:
//   query_starts [0, 2, 3]   context_lengths [5, 1]   block_tables [[7, 2], [5, -]]
//   positions [[3, 4, 0]]    slots [7·4+3, 2·4+0, 5·4+0] = [31, 8, 20]
struct PagedBatch {
  Tensor query_starts;     // int32 [S + 1]
  Tensor context_lengths;  // int32 [S], the new rows included
  Tensor block_tables;     // int32 [S, max_blocks]
  Tensor positions;        // int32 [axes, T]
  Tensor window_ends;     // int32 [S]: rows from this position on see all keys whatever the window;
                          // empty: none do
  Tensor slots;           // int32 [T]
  int64_t max_query = 0;  // the longest of the query spans
  int64_t max_context = 0;
};

enum class RouterScore : uint8_t { kSoftmax };
struct RouterConfig {
  int experts_per_token = 1;
  RouterScore score = RouterScore::kSoftmax;
  bool renormalize = false;  // chosen weights divided by their sum

  bool operator==(const RouterConfig&) const = default;
};

// The largest of each row's values; the first of equals. NaN counts as larger than all.
struct Largest {
  Tensor places;  // int32 [rows]
  Tensor values;  // float32 [rows]
};

// Who computes what. Worked example with T = 3 rows, k = 2, E = 3, experts [[0, 2], [2, 1], [0,
// 1]]: sorted by expert, then by row,
//   expert_starts [0, 2, 4, 6]   sorted_rows [0, 2, 1, 2, 0, 1]   (row of each sorted place)
//   places [[0, 4], [5, 2], [1, 3]]   (sorted place of each choice)
struct Routing {
  Tensor logits;         // float32 [T, E]
  Tensor experts;        // int32 [T, k], best first
  Tensor weights;        // float32 [T, k]
  Tensor expert_starts;  // int32 [E + 1]
  Tensor sorted_rows;    // int32 [T · k]
  Tensor places;         // int32 [T, k]
};

// What is added to rows: `rows` [T, hidden], or with a routing [T · k, hidden] of ExpertFfn(),
// which stand for WeightedSum(rows, routing.places, routing.weights).
struct ResidualBranch {
  ResidualBranch(Tensor rows) : rows(rows) {}
  ResidualBranch(Tensor rows, const Routing& routing) : rows(rows), routing(routing) {}

  bool routed() const { return !routing.places.empty(); }

  Tensor rows;
  Routing routing;
};

}  // namespace tessera
