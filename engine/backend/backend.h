// What a device is: a WeightStore, and the closed list of operations in which models are written.
// Public operations check shapes and take their results from the step arena, where they live until
// ResetArena(); the private virtual kernels only compute. They never fail: a wrong shape is a bug
// (CHECK).
//
// Thread: one, the engine's. Dtypes: activations are float32, bfloat16 or float16
// (activation_dtype()); norms, softmax, routers and accumulations are float32; logits are float32.
//
// Batch invariance: each row of a result has the same bits whatever other rows are computed beside
// it and however a sequence's rows are cut into passes.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/backend/fallback.h"
#include "engine/backend/operands.h"
#include "engine/backend/sample.h"
#include "engine/backend/tensor.h"
#include "engine/backend/weight_store.h"

namespace tessera {

// Does work that comes again and again. Lives no longer than its backend and than what its work's
// operands belong to.
class GraphCache {
 public:
  // Queues operations: uploads and downloads nothing.
  using Work = std::function<std::vector<Tensor>()>;

  virtual ~GraphCache() = default;
  // What `work` returns. While the arena is filled alike before it, work of one `key` queues the
  // same operations on operands of the same places and shapes; only values differ. So a device may
  // keep what was queued and queue it again without calling `work`.
  virtual std::vector<Tensor> Run(const std::string& key, const Work& work);
};

// A device's tensor and the host's memory that it goes to, made as large as it needs.
struct Download {
  Download(Tensor source, std::vector<int32_t>& target);  // of int32
  Download(Tensor source, std::vector<float>& target);    // of float32 or of activations, widened

  Tensor source;
  void* target;
};

// Downloads under way; their targets must stay. Ends no later than its backend; the end waits, too.
class PendingCopy {
 public:
  virtual ~PendingCopy() = default;
  // Until all targets are filled.
  virtual void Wait() {}
};

class Backend : public WeightStore {
 public:
  // What a KV cache may take of the device's memory where the user names no size; meant after the
  // weights are loaded.
  virtual int64_t CacheBytes() const = 0;
  // The rows of a KV block that the device's attention reads best.
  virtual int32_t BlockRows() const { return 16; }
  // Since the backend was made.
  virtual Fallbacks fallbacks() const { return {}; }

  // Whether operations are queued and the device does them, in their order, beside the host. Else
  // they are done when they return.
  virtual bool queues() const { return false; }
  // Whether all that was queued is done.
  virtual bool Idle() { return true; }
  // Another queue of the same device, done beside this one and behind it where both want the same
  // multiprocessors. It may read what the other wrote, once that is done. Null where nothing is
  // queued.
  virtual std::unique_ptr<Backend> MakeSecondaryStream() { return nullptr; }
  // Of the device's multiprocessors, how many kernels may fill that could fill them all; in (0, 1].
  virtual void set_sm_fraction(double) {}

  virtual std::unique_ptr<GraphCache> MakeGraphCache() { return std::make_unique<GraphCache>(); }

  // --- memory ---
  // What was queued before may still use the step's memory: what is queued from now on comes after
  // it.
  virtual void ResetArena() = 0;
  // Uninitialised memory of this step.
  virtual Tensor New(DType dtype, Dims dims) = 0;
  // Host → arena; `values` may be freed after the call.
  Tensor Upload(std::span<const int32_t> values, Dims dims);
  Tensor Upload(std::span<const float> values, Dims dims);
  // The same, rounded to the activations' dtype.
  Tensor UploadActivations(std::span<const float> values, Dims dims);
  // Device → host. What is queued afterwards cannot change what arrives.
  std::unique_ptr<PendingCopy> StartDownload(std::span<const Download> downloads);
  // The same and waits.
  std::vector<float> DownloadFloats(Tensor source);
  std::vector<int32_t> DownloadInts(Tensor source);
  std::vector<std::vector<int32_t>> DownloadInts(std::span<const Tensor> sources);
  // target = source, same dims and dtype; both on the device.
  void Copy(Tensor source, Tensor target);

  // --- rows ---
  // table [V, hidden], ids int32 [T] → [T, hidden]. An id below 0 stands for sampled[-1 - id];
  // sampled int32 [n], or empty.
  Tensor Embed(Tensor table, Tensor ids, Tensor sampled = {});
  // x [T, hidden], rows int32 [n] → [n, hidden].
  Tensor GatherRows(Tensor x, Tensor rows);
  // x[rows[i]] = source[i];  x[rows[i]] += source[i]. Rows must differ.
  void PutRows(Tensor x, Tensor source, Tensor rows);
  void AddRows(Tensor x, Tensor source, Tensor rows);

  // x [R, hidden], rows int32 [T, k], weights float32 [T, k] → Σ_j weights[t, j] · x[rows[t, j]]
  // [T, hidden], summed in float32 in the order of j, rounded once.
  Tensor WeightedSum(Tensor x, Tensor rows, Tensor weights);

  // --- dense ---
  // x [T, in] → act(x Wᵀ + b) [T, out], in the activations' dtype or, for logits, in float32.
  Tensor Linear(Tensor x, const PackedLinear& weights, Activation activation = Activation::kNone);
  Tensor LinearFloat32(Tensor x, const PackedLinear& weights);
  // Of the first `columns` columns of x, float32 [R, ≥ columns].
  Largest ArgMax(Tensor x, int64_t columns);
  // Adjusts x, float32 [R, ≥ columns], in place, then samples one of the first `columns`
  // columns of each row (sample.h) → int32 [R].
  Tensor SampleTokens(Tensor x, int64_t columns, std::span<const SampleParams> samples,
                      std::span<const LogitAdjustment> adjustments);
  // [T, hidden] → [T, hidden].
  Tensor Norm(Tensor x, const NormWeights& norm);
  // x += branch in place; both [T, hidden].
  void Add(Tensor x, Tensor branch);
  // x[t] ·= factors[t] in place; x [T, hidden], factors float32 [T].
  void ScaleRows(Tensor x, Tensor factors);
  // x += scale · Σ branches in place (at most two), then Norm(x).
  Tensor AddNorm(Tensor x, std::span<const ResidualBranch> branches, const NormWeights& norm,
                 float scale = 1.0f);
  // x [T, 2·ffn] (gate, then up) → act(gate) ⊙ up [T, ffn].
  Tensor GatedActivate(Tensor x, Activation activation);

  // --- attention ---
  // qkv [T, (heads + 2·kv_heads)·head_dim]: norms and rotates queries and keys in place and writes
  // keys and values to their slots.
  void RopeWriteKv(Tensor qkv, const AttentionShape& shape, const HeadNorms& norms,
                   const Rope& rope, const PagedBatch& batch, const KvLayer& kv);
  // Causal attention of the rotated queries over the cache → [T, heads·head_dim].
  Tensor PagedAttention(Tensor qkv, const AttentionShape& shape, const PagedBatch& batch,
                        const KvLayer& kv);
  // The same turning alone; positions int32 [axes, T].
  void ApplyRope(Tensor qkv, const AttentionShape& shape, const Rope& rope, Tensor positions);
  // Attention of each ragged span over itself, no mask: qkv [T, 3·heads·head_dim], starts int32 [S
  // + 1] → of the queries of rows [first, first + rows) [rows, heads·head_dim].
  Tensor FullAttention(Tensor qkv, const AttentionShape& shape, Tensor starts, int64_t max_span,
                       int64_t first, int64_t rows);
  Tensor FullAttention(Tensor qkv, const AttentionShape& shape, Tensor starts, int64_t max_span) {
    return FullAttention(qkv, shape, starts, max_span, 0, qkv.rows());
  }

  // --- experts ---
  // x [T, hidden], router float32 [E, hidden], bias float32 [E] or empty. Computed in float32; ties
  // go to the lower expert. `noise` float32 [T, E] or empty is added to the logits when the choices
  // after the first are made (not to the weights).
  Routing Route(Tensor x, Tensor router, Tensor bias, const RouterConfig& config, Tensor noise);
  // x [T, hidden] → [T · k, hidden] in sorted order.
  Tensor ExpertFfn(Tensor x, const PackedExperts& experts, const Routing& routing);
  // x [T, in] → [T, out]: the dense layer and, added to it, the low-rank experts that `routing`
  // chose, rounded once.
  Tensor LoraLinear(Tensor x, const PackedLora& weights, const Routing& routing);

 protected:
  using WeightStore::WeightStore;

 private:
  virtual void DoUpload(const void* source, Tensor target) = 0;
  virtual std::unique_ptr<PendingCopy> DoDownload(std::span<const Download> downloads) = 0;
  virtual void DoCopy(Tensor source, Tensor target) = 0;
  virtual void DoEmbed(Tensor table, Tensor ids, Tensor sampled, Tensor y) = 0;
  virtual void DoGatherRows(Tensor x, Tensor rows, Tensor y) = 0;
  virtual void DoPutRows(Tensor x, Tensor source, Tensor rows) = 0;
  virtual void DoAddRows(Tensor x, Tensor source, Tensor rows) = 0;
  virtual void DoLinear(Tensor x, const PackedLinear& weights, Activation activation, Tensor y) = 0;
  virtual void DoArgMax(Tensor x, int64_t columns, const Largest& largest) = 0;
  virtual void DoSampleTokens(Tensor x, int64_t columns, std::span<const SampleParams> samples,
                              std::span<const LogitAdjustment> adjustments, Tensor places) = 0;
  virtual void DoNorm(Tensor x, const NormWeights& norm, Tensor y) = 0;
  virtual void DoAdd(Tensor x, Tensor branch) = 0;
  virtual void DoScaleRows(Tensor x, Tensor factors) = 0;
  virtual void DoAddNorm(Tensor x, std::span<const ResidualBranch> branches,
                         const NormWeights& norm, float scale, Tensor y) = 0;
  virtual void DoGatedActivate(Tensor x, Activation activation, Tensor y) = 0;
  virtual void DoRopeWriteKv(Tensor qkv, const AttentionShape& shape, const HeadNorms& norms,
                             const Rope& rope, const PagedBatch& batch, const KvLayer& kv) = 0;
  virtual void DoApplyRope(Tensor qkv, const AttentionShape& shape, const Rope& rope,
                           Tensor positions) = 0;
  virtual void DoPagedAttention(Tensor qkv, const AttentionShape& shape, const PagedBatch& batch,
                                const KvLayer& kv, Tensor y) = 0;
  virtual void DoFullAttention(Tensor qkv, const AttentionShape& shape, Tensor starts,
                               int64_t max_span, int64_t first, Tensor y) = 0;
  virtual void DoRoute(Tensor x, Tensor router, Tensor bias, const RouterConfig& config,
                       Tensor noise, const Routing& result) = 0;
  virtual void DoExpertFfn(Tensor x, const PackedExperts& experts, const Routing& routing,
                           Tensor y) = 0;
  virtual void DoWeightedSum(Tensor x, Tensor rows, Tensor weights, Tensor y) = 0;
  virtual void DoLoraLinear(Tensor x, const PackedLora& weights, const Routing& routing,
                            Tensor y) = 0;
};

}  // namespace tessera
