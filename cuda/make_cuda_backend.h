// The CUDA backend, or the stand-in of a build without one; no CUDA types here.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cuda/weight_format.h"
#include "engine/backend/backend.h"

struct CUstream_st;

namespace tessera {

// Linear layers, the logits' included, and experts are kept in `weights`; embeddings, norms,
// routers, low-rank experts with their dense layer, and all of a secondary stream in the
// activations' dtype. UNIMPLEMENTED in a build without CUDA, FAILED_PRECONDITION where there is no
// usable GPU, INVALID_ARGUMENT for what the GPU does not compute in: quantised weights with
// float32, rows of 8 bits on anything but Hopper.
//
// `tile_cache`: the directory where Autotune() keeps which tiles of matrix products it measured to
// be best; empty: nowhere; nullopt: a rule chooses tiles and nothing is measured. Results are the
// same.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(
    DType activation_dtype, WeightFormat weights = WeightFormat::kActivations,
    const std::optional<std::filesystem::path>& tile_cache = std::nullopt);

// A line about each GPU of this machine, of which MakeCudaBackend() takes the first. UNIMPLEMENTED
// and FAILED_PRECONDITION as there.
absl::StatusOr<std::vector<std::string>> DescribeGpus();

// The stream on which a backend that MakeCudaBackend() made queues its operations: for measuring.
CUstream_st* CudaStream(const Backend& backend);

}  // namespace tessera
