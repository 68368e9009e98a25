// Memory of the CUDA backend and what crosses between it and the host's.
#include <algorithm>

#include "cuda/cuda_backend.h"
#include "engine/base/check.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

class DeviceBuffer : public Buffer {
 public:
  DeviceBuffer(Tensor tensor, gpu::StreamHandle stream) : tensor_(tensor), stream_(stream) {}
  ~DeviceBuffer() override { gpu::FreeInOrder(tensor_.data, stream_); }
  Tensor tensor() const override { return tensor_; }

 private:
  const Tensor tensor_;
  const gpu::StreamHandle stream_;
};

}  // namespace

CudaBackend::CudaBackend(DType dtype, WeightFormat format, gpu::Device device,
                         gpu::StreamHandle stream,
                         const std::optional<std::filesystem::path>& tile_cache,
                         const TuningOptions& tuning)
    : Backend(dtype),
      format_(format),
      device_(std::move(device)),
      stream_(stream),
      multiprocessors_(device_.multiprocessors),
      staging_(stream),
      pinned_readbacks_(stream),
      tile_cache_(uses_hopper() ? tile_cache : std::nullopt),
      tiles_(device_, dtype, tile_cache_, tuning) {}

CudaBackend::~CudaBackend() {
  gpu::Synchronize(stream_);
  gpu::Close(stream_);
}

std::string CudaBackend::weight_dtype() const {
  return format_ == WeightFormat::kActivations ? Backend::weight_dtype()
                                               : WeightFormatName(format_);
}

int64_t CudaBackend::CacheBytes() const {
  return static_cast<int64_t>(gpu::FreeBytes() / 100 * 85);  // the rest is for the memory of steps
}

absl::StatusOr<std::unique_ptr<Buffer>> CudaBackend::Allocate(DType dtype, Dims dims) {
  size_t bytes = DTypeBytes(dtype);
  for (int64_t dim : dims) {
    if (dim < 0 || __builtin_mul_overflow(bytes, static_cast<size_t>(dim), &bytes)) {
      return absl::ResourceExhaustedError("cannot allocate a tensor of more than 2^64 bytes");
    }
  }
  void* memory = gpu::AllocateInOrder(std::max<size_t>(bytes, 1), stream_);
  if (memory == nullptr) return DeviceMemory::Exhausted(bytes);
  gpu::Zero(memory, bytes, stream_);
  return std::make_unique<DeviceBuffer>(Tensor(dtype, dims, memory), stream_);
}

std::unique_ptr<Backend> CudaBackend::MakeSecondaryStream() {
  const gpu::StreamHandle stream = gpu::OpenSideStream();
  TESSERA_CHECK_MSG(stream != nullptr, "no second stream");
  return std::make_unique<CudaBackend>(activation_dtype(), WeightFormat::kActivations, device_,
                                       stream, tile_cache_);
}

void CudaBackend::set_sm_fraction(double share) {
  multiprocessors_ = std::max(1, static_cast<int>(share * device_.multiprocessors));
}

Tensor CudaBackend::New(DType dtype, Dims dims) {
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

std::unique_ptr<PendingCopy> CudaBackend::DoDownload(std::span<const Download> downloads) {
  return pinned_readbacks_.Start(downloads);
}

void CudaBackend::DoCopy(Tensor source, Tensor target) {
  gpu::CopyOnDevice(target.data, source.data, source.bytes(), stream_);
}

}  // namespace tessera
