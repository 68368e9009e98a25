#include "engine/backend/header_backend.h"

#include "engine/base/check.h"

namespace tessera {
namespace {

class NoMemory : public Buffer {
 public:
  explicit NoMemory(Tensor tensor) : tensor_(tensor) {}
  Tensor tensor() const override { return tensor_; }

 private:
  Tensor tensor_;
};

[[noreturn]] void Refuse() { TESSERA_CHECK_MSG(false, "a backend without data cannot compute"); }

}  // namespace

absl::StatusOr<std::unique_ptr<Buffer>> HeaderBackend::Allocate(
    DType dtype, std::initializer_list<int64_t> dims) {
  int64_t bytes = static_cast<int64_t>(DTypeBytes(dtype));
  for (const int64_t dim : dims) {
    if (dim < 0 || __builtin_mul_overflow(bytes, dim, &bytes)) {
      return absl::ResourceExhaustedError("a tensor of more than 2^63 bytes");
    }
  }
  bytes_ += bytes;
  return std::make_unique<NoMemory>(Tensor(dtype, dims, nullptr));
}

void HeaderBackend::DoLoad(const HostTensor&, Tensor) {}

int64_t HeaderBackend::BytesOf(const LinearWeights& weights) const {
  int64_t bytes = 0;
  for (const HostTensor& weight : weights.weights) {
    bytes += weight.elements() * static_cast<int64_t>(DTypeBytes(activation_dtype()));
  }
  for (const HostTensor& bias : weights.biases) {
    bytes += bias.elements() * static_cast<int64_t>(DTypeBytes(DType::kFloat32));
  }
  return bytes;
}

int64_t HeaderBackend::BytesOf(const std::vector<LinearWeights>& each) const {
  int64_t bytes = 0;
  for (const LinearWeights& weights : each) bytes += BytesOf(weights);
  return bytes;
}

absl::StatusOr<std::unique_ptr<PackedLinear>> HeaderBackend::DoPackLinear(
    const LinearWeights& source) {
  auto packed = std::make_unique<PackedLinear>();
  packed->bytes = static_cast<size_t>(BytesOf(source));
  bytes_ += BytesOf(source);
  return packed;
}

absl::StatusOr<std::unique_ptr<PackedExperts>> HeaderBackend::DoPackExperts(
    const ExpertWeights& source) {
  auto packed = std::make_unique<PackedExperts>();
  const int64_t bytes = BytesOf(source.up) + BytesOf(source.down);
  packed->bytes = static_cast<size_t>(bytes);
  bytes_ += bytes;
  return packed;
}

absl::StatusOr<std::unique_ptr<PackedLora>> HeaderBackend::DoPackLora(const LoraWeights& source) {
  auto packed = std::make_unique<PackedLora>();
  const int64_t bytes = BytesOf(source.base) + BytesOf(source.a) + BytesOf(source.b);
  packed->bytes = static_cast<size_t>(bytes);
  bytes_ += bytes;
  return packed;
}

void HeaderBackend::ResetArena() { Refuse(); }
Tensor HeaderBackend::New(DType, std::initializer_list<int64_t>) { Refuse(); }
void HeaderBackend::DoUpload(const void*, Tensor) { Refuse(); }
std::unique_ptr<Arrival> HeaderBackend::DoDownload(std::span<const Download>) { Refuse(); }
void HeaderBackend::DoArgMax(Tensor, int64_t, const Largest&) { Refuse(); }
void HeaderBackend::DoDrawTokens(Tensor, int64_t, std::span<const Draw>,
                                 std::span<const LogitEdit>, Tensor) {
  Refuse();
}
void HeaderBackend::DoCopy(Tensor, Tensor) { Refuse(); }
void HeaderBackend::DoEmbed(Tensor, Tensor, Tensor, Tensor) { Refuse(); }
void HeaderBackend::DoGatherRows(Tensor, Tensor, Tensor) { Refuse(); }
void HeaderBackend::DoPutRows(Tensor, Tensor, Tensor) { Refuse(); }
void HeaderBackend::DoAddRows(Tensor, Tensor, Tensor) { Refuse(); }
void HeaderBackend::DoLinear(Tensor, const PackedLinear&, Activation, Tensor) { Refuse(); }
void HeaderBackend::DoNorm(Tensor, const NormWeights&, Tensor) { Refuse(); }
void HeaderBackend::DoAdd(Tensor, Tensor) { Refuse(); }
void HeaderBackend::DoScaleRows(Tensor, Tensor) { Refuse(); }
void HeaderBackend::DoAddNorm(Tensor, std::span<const Delta>, const NormWeights&, float, Tensor) {
  Refuse();
}
void HeaderBackend::DoGatedActivate(Tensor, Activation, Tensor) { Refuse(); }
void HeaderBackend::DoRopeWriteKv(Tensor, const AttentionShape&, const HeadNorms&, const Rope&,
                                  const PagedBatch&, const KvLayer&) {
  Refuse();
}
void HeaderBackend::DoApplyRope(Tensor, const AttentionShape&, const Rope&, Tensor) { Refuse(); }
void HeaderBackend::DoPagedAttention(Tensor, const AttentionShape&, const PagedBatch&,
                                     const KvLayer&, Tensor) {
  Refuse();
}
void HeaderBackend::DoFullAttention(Tensor, const AttentionShape&, Tensor, int64_t, int64_t,
                                    Tensor) {
  Refuse();
}
void HeaderBackend::DoRoute(Tensor, Tensor, Tensor, const RouterConfig&, Tensor, const Routing&) {
  Refuse();
}
void HeaderBackend::DoExpertFfn(Tensor, const PackedExperts&, const Routing&, Tensor) { Refuse(); }
void HeaderBackend::DoCombine(Tensor, const Routing&, Tensor) { Refuse(); }
void HeaderBackend::DoLoraLinear(Tensor, const PackedLora&, const Routing&, Tensor) { Refuse(); }

}  // namespace tessera
