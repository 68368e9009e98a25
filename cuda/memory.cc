// Memory of the CUDA backend and what crosses between it and the host's.
#include <cstring>

#include "cuda/operations.h"
#include "engine/backend/half.h"
#include "engine/check.h"
#include "engine/status.h"

namespace tessera {
namespace {

class DeviceBuffer : public Buffer {
 public:
  DeviceBuffer(DeviceMemory memory, Tensor tensor) : memory_(std::move(memory)), tensor_(tensor) {}
  Tensor tensor() const override { return tensor_; }

 private:
  DeviceMemory memory_;
  Tensor tensor_;
};

// The 16-bit numbers at the beginning of `values`, from the last one on.
void WidenInPlace(DType dtype, int64_t count, float* values) {
  for (int64_t i = count - 1; i >= 0; --i) {
    uint16_t half;
    std::memcpy(&half, reinterpret_cast<const char*>(values) + i * sizeof(half), sizeof(half));
    values[i] = dtype == DType::kBFloat16 ? BFloat16ToFloat(half) : Float16ToFloat(half);
  }
}

}  // namespace

CudaBackend::CudaBackend(DType dtype, WeightFormat format, gpu::Device device,
                         gpu::StreamHandle stream,
                         const std::optional<std::filesystem::path>& tile_cache,
                         const TuningOptions& tuning)
    : Backend(dtype),
      format_(format),
      device_(std::move(device)),
      stream_(stream),
      staging_(stream),
      tiles_(device_, dtype, uses_hopper() ? tile_cache : std::nullopt, tuning) {}

CudaBackend::~CudaBackend() {
  gpu::Synchronize(stream_);
  gpu::Close(stream_);
}

int64_t CudaBackend::CacheBytes() const {
  return static_cast<int64_t>(gpu::FreeBytes() / 100 * 85);  // the rest is for the memory of steps
}

absl::StatusOr<std::unique_ptr<Buffer>> CudaBackend::Allocate(DType dtype,
                                                              std::initializer_list<int64_t> dims) {
  size_t bytes = DTypeBytes(dtype);
  for (int64_t dim : dims) {
    if (dim < 0 || __builtin_mul_overflow(bytes, static_cast<size_t>(dim), &bytes)) {
      return absl::ResourceExhaustedError("cannot allocate a tensor of more than 2^64 bytes");
    }
  }
  ASSIGN_OR_RETURN(DeviceMemory memory, DeviceMemory::Allocate(bytes));
  gpu::Zero(memory.data(), bytes, stream_);
  const Tensor tensor(dtype, dims, memory.data());
  return std::make_unique<DeviceBuffer>(std::move(memory), tensor);
}

void CudaBackend::ResetArena() {
  gpu::Synchronize(stream_);
  arena_.Reset();
}

Tensor CudaBackend::New(DType dtype, std::initializer_list<int64_t> dims) {
  Tensor tensor(dtype, dims, nullptr);
  tensor.data = arena_.Allocate(tensor.bytes());
  return tensor;
}

void CudaBackend::DoLoad(const HostTensor& source, Tensor target) {
  TESSERA_CHECK(source.elements() == target.elements());
  if (source.dtype == target.dtype) {
    staging_.Upload(source.data, source.bytes(), target.data);
    return;
  }
  void* stored = arena_.Allocate(source.bytes());
  staging_.Upload(source.data, source.bytes(), stored);
  // As rows of a length that divides it, a matrix for the kernel's grid.
  const int64_t elements = source.elements();
  const int64_t cols = source.dims.empty() ? 1 : std::max<int64_t>(1, source.dims.back());
  cuda::CopyMatrix({stored, source.dtype, elements / cols, cols, cols, 1},
                   {target.data, target.dtype, cols, 0, 0, -1}, stream_);
}

void CudaBackend::DoUpload(const void* source, Tensor target) {
  staging_.Upload(source, target.bytes(), target.data);
}

void CudaBackend::DoDownload(std::span<const Download> downloads) {
  std::vector<Staging::Piece> pieces;
  for (const auto& [source, target] : downloads) {
    pieces.push_back({source.data, source.bytes(), target});
  }
  staging_.Download(pieces);
  for (const auto& [source, target] : downloads) {
    if (source.dtype != DType::kInt32 && source.dtype != DType::kFloat32) {
      WidenInPlace(source.dtype, source.elements(), static_cast<float*>(target));
    }
  }
}

void CudaBackend::DoCopy(Tensor source, Tensor target) {
  gpu::CopyOnDevice(target.data, source.data, source.bytes(), stream_);
}

}  // namespace tessera
