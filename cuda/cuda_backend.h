// The CUDA backend, or the stand-in of a build without one; no CUDA types here.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"

namespace tessera {

// UNIMPLEMENTED in a build without CUDA, FAILED_PRECONDITION where there is no usable GPU.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(DType activation_dtype);

}  // namespace tessera
