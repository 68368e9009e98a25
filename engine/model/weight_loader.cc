#include "engine/model/weight_loader.h"

#include <fmt/format.h>

#include "engine/base/status.h"

namespace tessera {

namespace {

constexpr int64_t kMaxFloats = int64_t{1} << 26;  // of a tensor without data

void Describe(const Checkpoint& checkpoint, HeaderCheck& headers) {
  headers = {};
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    ++headers.tensors;
    headers.parameters += HostTensor{DType::kFloat32, tensor.dims, nullptr}.elements();
    headers.bytes += static_cast<int64_t>(tensor.bytes);
  }
}

}  // namespace

WeightLoader::WeightLoader(WeightStore& store, Checkpoint& checkpoint, Progress progress,
                           HeaderCheck* headers)
    : store_(&store),
      checkpoint_(checkpoint),
      progress_(std::move(progress)),
      headers_(headers),
      total_(checkpoint.total_bytes()) {
  if (headers_ != nullptr) Describe(checkpoint, *headers_);
}

absl::StatusOr<HostTensor> WeightLoader::Take(const std::string& name,
                                              const std::vector<int64_t>& dims) {
  const absl::StatusOr<HostTensor> taken =
      headers_ == nullptr ? checkpoint_.Take(name, dims) : checkpoint_.TakeHeader(name, dims);
  if (!taken.ok()) {
    if (headers_ == nullptr || !headers_->faults.Add(name, taken.status())) return taken.status();
    return HostTensor{DType::kFloat32, dims, nullptr};
  }
  if (counted_.insert(name).second) {  // a tied head is read twice
    parameters_ += taken->elements();
    done_ += static_cast<int64_t>(checkpoint_.tensors().at(name).bytes);
  }
  return taken;
}

absl::Status WeightLoader::Gather(const std::vector<std::string>& names,
                                  const std::vector<int64_t>& outs, int64_t in, Bias bias,
                                  LinearWeights& weights) {
  for (size_t i = 0; i < names.size(); ++i) {
    ASSIGN_OR_RETURN(HostTensor weight, Take(names[i] + ".weight", {outs[i], in}));
    weights.weights.push_back(std::move(weight));
    if (bias == Bias::kNone) continue;
    ASSIGN_OR_RETURN(HostTensor values, Take(names[i] + ".bias", {outs[i]}));
    weights.biases.push_back(std::move(values));
  }
  return absl::OkStatus();
}

void WeightLoader::Release(const LinearWeights& weights) {
  for (const HostTensor& weight : weights.weights) checkpoint_.Release(weight);
  if (progress_) progress_(done_, total_);
}

absl::StatusOr<std::unique_ptr<PackedLinear>> WeightLoader::Linear(
    const std::vector<std::string>& names, const std::vector<int64_t>& outs, int64_t in, Bias bias,
    bool logits) {
  LinearWeights weights;
  weights.logits = logits;
  RETURN_IF_ERROR(Gather(names, outs, in, bias, weights));
  ASSIGN_OR_RETURN(std::unique_ptr<PackedLinear> packed, store_->PackLinear(weights));
  packed_bytes_ += static_cast<int64_t>(packed->bytes);
  Release(weights);
  return packed;
}

absl::StatusOr<std::unique_ptr<PackedExperts>> WeightLoader::Experts(
    const std::vector<std::string>& prefixes, const std::vector<std::string>& up,
    const std::string& down, int64_t hidden, int64_t ffn, Bias bias, Activation activation) {
  ExpertWeights experts;
  experts.activation = activation;
  experts.gated = up.size() == 2;
  for (const std::string& prefix : prefixes) {
    std::vector<std::string> names;
    for (const std::string& name : up) names.push_back(prefix + name);
    RETURN_IF_ERROR(Gather(names, std::vector<int64_t>(up.size(), ffn), hidden, bias,
                           experts.up.emplace_back()));
    RETURN_IF_ERROR(Gather({prefix + down}, {hidden}, ffn, bias, experts.down.emplace_back()));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<PackedExperts> packed, Pack(experts));
  for (const LinearWeights& weights : experts.up) Release(weights);
  for (const LinearWeights& weights : experts.down) Release(weights);
  return packed;
}

absl::StatusOr<std::unique_ptr<PackedExperts>> WeightLoader::Pack(const ExpertWeights& experts) {
  ASSIGN_OR_RETURN(std::unique_ptr<PackedExperts> packed, store_->PackExperts(experts));
  packed_bytes_ += static_cast<int64_t>(packed->bytes);
  return packed;
}

bool WeightLoader::HasShape(const std::string& name, const std::vector<int64_t>& dims) const {
  const auto found = checkpoint_.tensors().find(name);
  return found != checkpoint_.tensors().end() && found->second.dims == dims;
}

// Every expert's matrices as views of the two tensors, transposed where rows of a weight lie in
// columns.
absl::StatusOr<std::unique_ptr<PackedExperts>> WeightLoader::FusedExperts(
    const std::string& up, const std::string& down, int experts, int64_t hidden, int64_t ffn,
    Activation activation) {
  const bool out_first =
      HasShape(up, {experts, 2 * ffn, hidden}) && HasShape(down, {experts, hidden, ffn});
  const auto take = [&](const std::string& name, int64_t out, int64_t in) {
    return out_first ? Take(name, {experts, out, in}) : Take(name, {experts, in, out});
  };
  ASSIGN_OR_RETURN(const HostTensor ups, take(up, 2 * ffn, hidden));
  ASSIGN_OR_RETURN(const HostTensor downs, take(down, hidden, ffn));
  // Rows [first, first + count) of the `out` of expert e, of `in` columns.
  const auto view = [&](const HostTensor& all, int64_t e, int64_t out, int64_t in, int64_t first,
                        int64_t count) {
    const int64_t element = e * out * in + first * (out_first ? in : 1);
    const auto* data = static_cast<const char*>(all.data);
    return HostTensor{
        all.dtype,
        {count, in},
        data == nullptr ? nullptr : data + element * static_cast<int64_t>(DTypeBytes(all.dtype)),
        out_first ? 0 : out};
  };
  ExpertWeights weights;
  weights.activation = activation;
  weights.gated = true;
  for (int64_t e = 0; e < experts; ++e) {
    weights.up.push_back(
        {{view(ups, e, 2 * ffn, hidden, 0, ffn), view(ups, e, 2 * ffn, hidden, ffn, ffn)}, {}});
    weights.down.push_back({{view(downs, e, hidden, ffn, 0, hidden)}, {}});
  }
  ASSIGN_OR_RETURN(std::unique_ptr<PackedExperts> packed, Pack(weights));
  checkpoint_.Release(ups);
  checkpoint_.Release(downs);
  if (progress_) progress_(done_, total_);
  return packed;
}

absl::StatusOr<std::unique_ptr<PackedLora>> WeightLoader::Lora(
    const std::vector<std::string>& names, const std::vector<int64_t>& outs, int64_t in, Bias bias,
    const std::vector<std::vector<std::string>>& experts, const LoraSpec& spec) {
  LoraWeights weights;
  weights.scale = spec.scale;
  RETURN_IF_ERROR(Gather(names, outs, in, bias, weights.base));
  for (const std::vector<std::string>& prefixes : experts) {
    LinearWeights& a = weights.a.emplace_back();
    LinearWeights& b = weights.b.emplace_back();
    for (size_t i = 0; i < prefixes.size(); ++i) {
      ASSIGN_OR_RETURN(a.weights.emplace_back(), Take(prefixes[i] + "lora_A", {spec.rank, in}));
      ASSIGN_OR_RETURN(b.weights.emplace_back(),
                       Take(prefixes[i] + "lora_B", {outs[i], spec.rank}));
    }
  }
  ASSIGN_OR_RETURN(std::unique_ptr<PackedLora> packed, store_->PackLora(weights));
  packed_bytes_ += static_cast<int64_t>(packed->bytes);
  for (const LinearWeights& a : weights.a) Release(a);
  for (const LinearWeights& b : weights.b) Release(b);
  Release(weights.base);
  return packed;
}

absl::StatusOr<std::unique_ptr<Buffer>> WeightLoader::Tensor(const std::string& name,
                                                             const std::vector<int64_t>& dims,
                                                             DType dtype) {
  ASSIGN_OR_RETURN(const HostTensor tensor, Take(name, dims));
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, store_->Load(tensor, dtype));
  packed_bytes_ += static_cast<int64_t>(buffer->tensor().bytes());
  checkpoint_.Release(tensor);
  if (progress_) progress_(done_, total_);
  return buffer;
}

absl::StatusOr<NormWeights> WeightLoader::Norm(const std::string& name, int64_t hidden,
                                               NormKind kind, float epsilon, Bias bias,
                                               std::vector<std::unique_ptr<Buffer>>& keep) {
  NormWeights norm;
  norm.kind = kind;
  norm.epsilon = epsilon;
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> weight,
                   Tensor(name + ".weight", {hidden}, DType::kFloat32));
  norm.weight = weight->tensor();
  keep.push_back(std::move(weight));
  if (bias == Bias::kRequired) {
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> values,
                     Tensor(name + ".bias", {hidden}, DType::kFloat32));
    norm.bias = values->tensor();
    keep.push_back(std::move(values));
  }
  return norm;
}

absl::StatusOr<std::vector<float>> WeightLoader::Floats(const std::string& name,
                                                        const std::vector<int64_t>& dims) {
  ASSIGN_OR_RETURN(const HostTensor tensor, Take(name, dims));
  if (headers_ != nullptr) {
    if (tensor.elements() > kMaxFloats) {
      return absl::InvalidArgumentError(
          fmt::format("tensor \"{}\" of shape {} is too large", name, tensor.ShapeString()));
    }
    return std::vector<float>(static_cast<size_t>(tensor.elements()));
  }
  std::vector<float> values = ToFloats(tensor);
  checkpoint_.Release(tensor);
  return values;
}

}  // namespace tessera
