// Queries and keys on their way into attention: norms of heads, rotary positions (Su et al. 2021,
// arXiv 2104.09864), and the paged cache.
#include <type_traits>

#include "cuda/kernels/float8_rows.h"
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/number.h"
#include "cuda/kernels/reduce.h"

namespace tessera::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kMaxPerLane = kMaxHeadDim / 32;  // elements of a head

struct HeadNorm {
  const float* weight;  // null for none
  const float* bias;
  float epsilon;
  bool centred;
};

struct TurnTask {
  int heads, kv_heads, head_dim;
  HeadNorm query, key;
  const float* cosine;
  const float* sine;
  const int32_t* pair_axis;
  int pairs;
  int64_t places;            // rows of the tables
  const int32_t* positions;  // [axes, rows]
  int64_t rows;
  const int32_t* slots;
  int64_t slot_count;
  int block_size;
};

// Element lane + 32 i of the head in values[i].
__device__ __forceinline__ void NormHead(const HeadNorm& norm, int dim, int lane,
                                         float (&values)[kMaxPerLane]) {
  float mean = 0;
  if (norm.centred) {
#pragma unroll
    for (int i = 0; i < kMaxPerLane; ++i) mean += values[i];
    mean = WarpSum(mean) / static_cast<float>(dim);
  }
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kMaxPerLane; ++i) {
    if (lane + 32 * i >= dim) continue;
    values[i] -= mean;
    squares = fmaf(values[i], values[i], squares);
  }
  const float factor = 1.0f / sqrtf(WarpSum(squares) / static_cast<float>(dim) + norm.epsilon);
#pragma unroll
  for (int i = 0; i < kMaxPerLane; ++i) {
    const int d = lane + 32 * i;
    if (d >= dim) continue;
    const float shift = norm.bias == nullptr ? 0.0f : norm.bias[d];
    values[i] = fmaf(values[i] * factor, norm.weight[d], shift);
  }
}

// One warp norms and turns one head of one row in shared memory, and stores it rounded. Barriers
// are the warp's own.
template <typename T>
__device__ void TurnHead(const TurnTask& task, const HeadNorm& norm, int64_t row, T* head,
                         float* scratch) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float values[kMaxPerLane];
#pragma unroll
  for (int i = 0; i < kMaxPerLane; ++i) {
    const int d = lane + 32 * i;
    values[i] = d < task.head_dim ? ToFloat(head[d]) : 0.0f;
  }
  if (norm.weight != nullptr) NormHead(norm, task.head_dim, lane, values);
#pragma unroll
  for (int i = 0; i < kMaxPerLane; ++i) scratch[lane + 32 * i] = values[i];
  gpu::SyncWarp();
  for (int pair = lane; pair < task.pairs; pair += 32) {
    const int64_t axis = task.pair_axis[pair];
    const int64_t position = task.positions[axis * task.rows + row];
    gpu::Require(position >= 0 && position < task.places);
    const float cosine = task.cosine[position * task.pairs + pair];
    const float sine = task.sine[position * task.pairs + pair];
    const float a = scratch[pair];
    const float b = scratch[pair + task.pairs];
    scratch[pair] = a * cosine - b * sine;
    scratch[pair + task.pairs] = b * cosine + a * sine;
  }
  gpu::SyncWarp();
  const int touched = norm.weight != nullptr ? task.head_dim : 2 * task.pairs;
  for (int d = lane; d < touched; d += 32) head[d] = Round<T>(scratch[d]);
  gpu::SyncWarp();
}

// Where keys and values go: a cache of the activations' type, or none.
template <typename T>
struct PlainCache {
  T* keys;
  T* values;

  // A warp stores one head in row `row` of the keys or values.
  __device__ __forceinline__ void Store(bool key, int64_t row, const T* head, int dim,
                                        int lane) const {
    T* const to = (key ? keys : values) + row * dim;
    for (int d = lane; d < dim; d += 32) to[d] = head[d];
  }
};

// … of 8 bits.
struct Float8Cache {
  Float8* keys;
  Float8* values;
  float* key_scales;
  float* value_scales;

  template <typename T>
  __device__ __forceinline__ void Store(bool key, int64_t row, const T* head, int dim,
                                        int lane) const {
    float most = 0;
    for (int d = lane; d < dim; d += 32) most = fmaxf(most, Magnitude(ToFloat(head[d])));
    const float scale = RowScale<T>(WarpMax(most));
    if (lane == 0) (key ? key_scales : value_scales)[row] = scale;
    Float8* const to = (key ? keys : values) + row * dim;
    for (int d = lane; d < dim; d += 32) to[d] = RowNumber(ToFloat(head[d]), scale);
  }
};

// A block for each row; its warps take the heads in turn.
template <typename T, typename Cache>
__global__ void __launch_bounds__(kThreads) RotateHeadsKernel(TurnTask task, T* qkv, Cache cache) {
  gpu::WaitForPrevious();
  __shared__ float scratch[kWarps][32 * kMaxPerLane];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t row = blockIdx.x;
  const int all = task.heads + 2 * task.kv_heads;
  T* heads = qkv + row * all * task.head_dim;
  const bool writes = cache.keys != nullptr;
  const int64_t slot = writes ? task.slots[row] : 0;
  gpu::Require(slot >= 0 && (!writes || slot < task.slot_count));
  for (int h = warp; h < all; h += kWarps) {
    T* head = heads + h * task.head_dim;
    const int kv_head = h - task.heads;
    if (kv_head < task.kv_heads) {
      TurnHead(task, kv_head < 0 ? task.query : task.key, row, head, scratch[warp]);
    }
    if (kv_head < 0 || !writes) continue;
    const int64_t place =
        (slot / task.block_size * task.kv_heads + kv_head % task.kv_heads) * task.block_size +
        slot % task.block_size;
    cache.Store(kv_head < task.kv_heads, place, head, task.head_dim, lane);
  }
}

HeadNorm Pointers(const NormWeights& norm) {
  return {norm.weight.as<float>(), norm.bias.as<float>(), norm.epsilon,
          norm.kind == NormKind::kLayerNorm};
}

}  // namespace

void RotateHeads(Tensor qkv, const AttentionShape& shape, const HeadNorms& norms, const Rope& rope,
                 Tensor positions, Tensor slots, const KvLayer& kv, Stream stream) {
  TurnTask task = {};
  task.heads = shape.heads;
  task.kv_heads = shape.kv_heads;
  task.head_dim = shape.head_dim;
  task.query = Pointers(norms.query);
  task.key = Pointers(norms.key);
  task.cosine = rope.cosine.as<float>();
  task.sine = rope.sine.as<float>();
  task.pair_axis = rope.pair_axis.as<int32_t>();
  task.pairs = static_cast<int>(rope.pair_axis.elements());
  task.places = task.pairs == 0 ? 0 : rope.cosine.rows();
  task.positions = positions.as<int32_t>();
  task.rows = qkv.rows();
  task.slots = slots.as<int32_t>();
  if (!kv.keys.empty()) {
    task.block_size = static_cast<int>(kv.keys.dims[2]);
    task.slot_count = kv.keys.dims[0] * task.block_size;
  }
  ForDType(qkv.dtype, [&](auto element) {
    using T = decltype(element);
    const gpu::Grid grid = {dim3(static_cast<unsigned>(qkv.rows())), kThreads};
    if constexpr (!std::is_same_v<T, float>) {
      if (kv.keys.dtype == DType::kFloat8) {
        const Float8Cache cache = {kv.keys.as<Float8>(), kv.values.as<Float8>(),
                                   kv.key_scales.as<float>(), kv.value_scales.as<float>()};
        return gpu::Launch(RotateHeadsKernel<T, Float8Cache>, grid, stream, task, qkv.as<T>(),
                           cache);
      }
    }
    const PlainCache<T> cache = {kv.keys.as<T>(), kv.values.as<T>()};
    gpu::Launch(RotateHeadsKernel<T, PlainCache<T>>, grid, stream, task, qkv.as<T>(), cache);
  });
}

}  // namespace tessera::cuda
