// Memory of the CPU backend: everything lies in host memory, so transfers are copies and
// conversions.
#include <cstring>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/system_memory.h"
#include "engine/cpu/cpu_backend.h"
#include "engine/cpu/parallel.h"
#include "engine/cpu/row_kernels.h"

namespace tessera {
namespace {

class CpuBuffer : public Buffer {
 public:
  CpuBuffer(AlignedMemory memory, Tensor tensor) : memory_(std::move(memory)), tensor_(tensor) {}
  Tensor tensor() const override { return tensor_; }

 private:
  AlignedMemory memory_;
  Tensor tensor_;
};

}  // namespace

int64_t CpuBackend::CacheBytes() const { return SystemMemoryBytes() / 8; }

absl::StatusOr<std::unique_ptr<Buffer>> CpuBackend::Allocate(DType dtype, Dims dims) {
  size_t bytes = DTypeBytes(dtype);
  for (int64_t dim : dims) {
    if (dim < 0 || __builtin_mul_overflow(bytes, static_cast<size_t>(dim), &bytes)) {
      return absl::ResourceExhaustedError("cannot allocate a tensor of more than 2^64 bytes");
    }
  }
  ASSIGN_OR_RETURN(AlignedMemory memory, AlignedMemory::AllocateZeroed(bytes));
  const Tensor tensor(dtype, dims, memory.data());
  return std::make_unique<CpuBuffer>(std::move(memory), tensor);
}

Tensor CpuBackend::New(DType dtype, Dims dims) {
  Tensor tensor(dtype, dims, nullptr);
  tensor.data = arena_.Allocate(tensor.bytes());
  return tensor;
}

void CpuBackend::DoLoad(const HostTensor& source, Tensor target) {
  const int64_t elements = source.elements();
  TESSERA_CHECK(elements == target.elements());
  constexpr int64_t kSpan = 4096;
  ParallelSpans(threads_, elements, kSpan, elements, [&](int64_t begin, int64_t end, int) {
    const auto* from = static_cast<const char*>(source.data) + begin * DTypeBytes(source.dtype);
    char* to = target.as<char>() + begin * DTypeBytes(target.dtype);
    if (source.dtype == target.dtype) {
      std::memcpy(to, from, static_cast<size_t>(end - begin) * DTypeBytes(source.dtype));
      return;
    }
    float values[kSpan];
    rows::Widen(from, source.dtype, end - begin, values);
    rows::Narrow(values, target.dtype, end - begin, to);
  });
}

// Tensors without elements may have no memory, which memcpy does not take.
void CpuBackend::DoUpload(const void* source, Tensor target) {
  if (target.bytes() == 0) return;
  std::memcpy(target.data, source, target.bytes());
}

std::unique_ptr<PendingCopy> CpuBackend::DoDownload(std::span<const Download> downloads) {
  for (const auto& [source, target] : downloads) {
    if (source.bytes() == 0) continue;
    if (source.dtype == DType::kInt32) {
      std::memcpy(target, source.data, source.bytes());
    } else {
      rows::Widen(source.data, source.dtype, source.elements(), static_cast<float*>(target));
    }
  }
  return std::make_unique<PendingCopy>();
}

void CpuBackend::DoCopy(Tensor source, Tensor target) {
  if (source.bytes() == 0) return;
  std::memmove(target.data, source.data, source.bytes());
}

}  // namespace tessera
