// Which device runs the model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "cuda/weight_format.h"
#include "engine/backend/backend.h"

namespace tessera {

enum class DeviceChoice : uint8_t { kAuto, kCpu, kCuda };
enum class DTypeChoice : uint8_t { kAuto, kFloat32, kBFloat16, kFloat16 };

// kAuto: CUDA where the build and the machine have it, else the CPU; bfloat16 where the device
// computes it natively, else float32. quantised `weights` only with kCuda. `tile_cache` as
// MakeCudaBackend() has it. `threads` of the CPU, 0 for all that
// may be used. An explicit choice that cannot be had
// is an error.
absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(
    DeviceChoice device, DTypeChoice dtype, WeightFormat weights,
    const std::optional<std::filesystem::path>& tile_cache, int threads);

// What a KV cache could take at most, before the weights are loaded.
int64_t MaxCacheBytes(const Backend& backend);

// What --device can name on this machine, a line each, and why not where it cannot.
std::string ListDevices();

}  // namespace tessera
