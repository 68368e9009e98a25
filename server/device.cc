#include "server/device.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "cuda/make_cuda_backend.h"
#include "engine/base/processors.h"
#include "engine/base/status.h"
#include "engine/base/system_memory.h"
#include "engine/cpu/make_cpu_backend.h"

namespace tessera {
namespace {

DType ChooseDType(DTypeChoice choice, bool native_bfloat16) {
  switch (choice) {
    case DTypeChoice::kFloat32:
      return DType::kFloat32;
    case DTypeChoice::kBFloat16:
      return DType::kBFloat16;
    case DTypeChoice::kFloat16:
      return DType::kFloat16;
    case DTypeChoice::kAuto:
      break;
  }
  return native_bfloat16 ? DType::kBFloat16 : DType::kFloat32;
}

void LogThreads(int asked, const Processors& usable) {
  if (asked == 0) {
    spdlog::info("{}", usable.Describe());
  } else if (asked > usable.threads()) {
    spdlog::warn("--threads {} is more than can run at once ({})", asked, usable.Describe());
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(
    DeviceChoice device, DTypeChoice dtype, WeightFormat weights,
    const std::optional<std::filesystem::path>& tile_cache, int threads) {
  if (weights != WeightFormat::kActivations && device != DeviceChoice::kCuda) {
    return absl::InvalidArgumentError("quantised weights are for the GPU; use --device cuda");
  }
  if (device != DeviceChoice::kCpu) {
    auto cuda = MakeCudaBackend(ChooseDType(dtype, true), weights, tile_cache);
    if (cuda.ok() || device == DeviceChoice::kCuda) return cuda;
    spdlog::debug("no cuda: {}", std::string(StatusMessage(cuda.status())));
  }
  LogThreads(threads, UsableProcessors());
  return MakeCpuBackend({.dtype = ChooseDType(dtype, CpuHasNativeBFloat16()), .threads = threads});
}

int64_t MaxCacheBytes(const Backend& backend) {
  return backend.name() == "cpu" ? SystemMemoryBytes() : backend.CacheBytes();
}

std::string ListDevices() {
  std::string list =
      fmt::format("cpu: {} processors, matrix products in {}\n", UsableProcessors().threads(),
                  CpuHasNativeBFloat16() ? "float32 and bfloat16" : "float32");
  const auto gpus = DescribeGpus();
  if (!gpus.ok()) return list + fmt::format("cuda: {}\n", StatusMessage(gpus.status()));
  for (size_t i = 0; i < gpus->size(); ++i) {
    list +=
        fmt::format("cuda: {}{}\n", (*gpus)[i], i == 0 ? "" : "; CUDA_VISIBLE_DEVICES chooses it");
  }
  return list;
}

}  // namespace tessera
