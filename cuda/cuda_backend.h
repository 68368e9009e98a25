// The CUDA backend, or the stand-in of a build without one; no CUDA types here.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"

struct CUstream_st;

namespace tessera {

// UNIMPLEMENTED in a build without CUDA, FAILED_PRECONDITION where there is no usable GPU.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(DType activation_dtype);

// The stream on which a backend that MakeCudaBackend() made queues its operations: for measuring.
CUstream_st* CudaStream(const Backend& backend);

}  // namespace tessera
