// Brings tensors of a checkpoint to a store by name, counting parameters and telling progress.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/weight_store.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/to_floats.h"
#include "engine/model/model_spec.h"
#include "engine/model/tensor_faults.h"

namespace tessera {

// Whether "<name>.bias" belongs to a matrix or norm.
enum class Bias : uint8_t { kNone, kRequired };
inline Bias BiasIf(bool wanted) { return wanted ? Bias::kRequired : Bias::kNone; }

// What the headers of a checkpoint say, for a check that wants to name everything at fault: with it
// a loader hands out tensors without data, also where one is missing or has another shape. Only for
// a store that does not look at data, as DryRunStore.
struct HeaderCheck {
  TensorFaults faults;  // of tensors that were asked for
  // What the files hold, used or not.
  int64_t tensors = 0;
  int64_t parameters = 0;
  int64_t bytes = 0;
};

class WeightLoader {
 public:
  using Progress = std::function<void(int64_t done, int64_t total)>;  // bytes of the checkpoint

  // With `headers`, which may be null, at most a few hundred kinds of faults are collected before
  // one ends the loading.
  WeightLoader(WeightStore& store, Checkpoint& checkpoint, Progress progress,
               HeaderCheck* headers = nullptr);

  // "<name>.weight" of each name stacked, each [outs[i], in]. `logits`: see LinearWeights.
  absl::StatusOr<std::unique_ptr<PackedLinear>> Linear(const std::vector<std::string>& names,
                                                       const std::vector<int64_t>& outs, int64_t in,
                                                       Bias bias, bool logits = false);
  // Experts whose matrices are "<prefixes[e]><up>" and "<prefixes[e]><down>".
  absl::StatusOr<std::unique_ptr<PackedExperts>> Experts(const std::vector<std::string>& prefixes,
                                                         const std::vector<std::string>& up,
                                                         const std::string& down, int64_t hidden,
                                                         int64_t ffn, Bias bias,
                                                         Activation activation);
  // Gated experts whose matrices are those of two tensors, [experts, hidden, 2 · ffn] and [experts,
  // ffn, hidden], or both with the last two axes exchanged.
  absl::StatusOr<std::unique_ptr<PackedExperts>> FusedExperts(const std::string& up,
                                                              const std::string& down, int experts,
                                                              int64_t hidden, int64_t ffn,
                                                              Activation activation);
  // The same beside low-rank experts: of expert e and name i "<experts[e][i]>lora_A", [rank, in],
  // and "<…>lora_B", [outs[i], rank].
  absl::StatusOr<std::unique_ptr<PackedLora>> Lora(
      const std::vector<std::string>& names, const std::vector<int64_t>& outs, int64_t in,
      Bias bias, const std::vector<std::vector<std::string>>& experts, const LoraSpec& spec);
  // A tensor as it is, converted.
  absl::StatusOr<std::unique_ptr<Buffer>> Tensor(const std::string& name,
                                                 const std::vector<int64_t>& dims, DType dtype);
  // Weight and bias of a norm; both buffers live in `keep`.
  absl::StatusOr<NormWeights> Norm(const std::string& name, int64_t hidden, NormKind kind,
                                   float epsilon, Bias bias,
                                   std::vector<std::unique_ptr<Buffer>>& keep);
  // Memory of the checkpoint, counted.
  absl::StatusOr<HostTensor> Take(const std::string& name, const std::vector<int64_t>& dims);
  // The tensor in host memory, for the few that are changed before they are loaded.
  absl::StatusOr<std::vector<float>> Floats(const std::string& name,
                                            const std::vector<int64_t>& dims);

  Checkpoint& checkpoint() { return checkpoint_; }
  WeightStore& store() { return *store_; }
  // What is loaded from now on belongs to it.
  void set_store(WeightStore& store) { store_ = &store; }
  // Distinct tensors taken: one that serves twice, such as a tied head, counts once.
  int64_t parameters() const { return parameters_; }
  int64_t packed_bytes() const { return packed_bytes_; }

 private:
  absl::Status Gather(const std::vector<std::string>& names, const std::vector<int64_t>& outs,
                      int64_t in, Bias bias, LinearWeights& weights);
  absl::StatusOr<std::unique_ptr<PackedExperts>> Pack(const ExpertWeights& experts);
  bool HasShape(const std::string& name, const std::vector<int64_t>& dims) const;
  void Release(const LinearWeights& weights);

  WeightStore* store_;
  Checkpoint& checkpoint_;
  Progress progress_;
  HeaderCheck* headers_;
  int64_t total_ = 0;
  int64_t done_ = 0;
  std::set<std::string> counted_;
  int64_t parameters_ = 0;
  int64_t packed_bytes_ = 0;
};

}  // namespace tessera
