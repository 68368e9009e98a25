#include "engine/backend/dry_run_store.h"

namespace tessera {
namespace {

class NoMemory : public Buffer {
 public:
  explicit NoMemory(Tensor tensor) : tensor_(tensor) {}
  Tensor tensor() const override { return tensor_; }

 private:
  Tensor tensor_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Buffer>> DryRunStore::Allocate(DType dtype, Dims dims) {
  int64_t bytes = static_cast<int64_t>(DTypeBytes(dtype));
  for (const int64_t dim : dims) {
    if (dim < 0 || __builtin_mul_overflow(bytes, dim, &bytes)) {
      return absl::ResourceExhaustedError("a tensor of more than 2^63 bytes");
    }
  }
  bytes_ += bytes;
  return std::make_unique<NoMemory>(Tensor(dtype, dims, nullptr));
}

void DryRunStore::DoLoad(const HostTensor&, Tensor) {}

int64_t DryRunStore::BytesOf(const LinearWeights& weights) const {
  int64_t bytes = 0;
  for (const HostTensor& weight : weights.weights) {
    bytes += weight.elements() * static_cast<int64_t>(DTypeBytes(activation_dtype()));
  }
  for (const HostTensor& bias : weights.biases) {
    bytes += bias.elements() * static_cast<int64_t>(DTypeBytes(DType::kFloat32));
  }
  return bytes;
}

int64_t DryRunStore::BytesOf(const std::vector<LinearWeights>& each) const {
  int64_t bytes = 0;
  for (const LinearWeights& weights : each) bytes += BytesOf(weights);
  return bytes;
}

absl::StatusOr<std::unique_ptr<PackedLinear>> DryRunStore::DoPackLinear(
    const LinearWeights& source) {
  auto packed = std::make_unique<PackedLinear>();
  packed->bytes = static_cast<size_t>(BytesOf(source));
  bytes_ += BytesOf(source);
  return packed;
}

absl::StatusOr<std::unique_ptr<PackedExperts>> DryRunStore::DoPackExperts(
    const ExpertWeights& source) {
  auto packed = std::make_unique<PackedExperts>();
  const int64_t bytes = BytesOf(source.up) + BytesOf(source.down);
  packed->bytes = static_cast<size_t>(bytes);
  bytes_ += bytes;
  return packed;
}

absl::StatusOr<std::unique_ptr<PackedLora>> DryRunStore::DoPackLora(const LoraWeights& source) {
  auto packed = std::make_unique<PackedLora>();
  const int64_t bytes = BytesOf(source.base) + BytesOf(source.a) + BytesOf(source.b);
  packed->bytes = static_cast<size_t>(bytes);
  bytes_ += bytes;
  return packed;
}

}  // namespace tessera
