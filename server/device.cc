#include "server/device.h"

#include <spdlog/spdlog.h>

#include "cuda/cuda_backend.h"
#include "engine/cpu/cpu_backend.h"
#include "engine/status.h"

namespace tessera {
namespace {

DType ChooseDType(DTypeChoice choice, bool native_bfloat16) {
  if (choice == DTypeChoice::kAuto) {
    return native_bfloat16 ? DType::kBFloat16 : DType::kFloat32;
  }
  return choice == DTypeChoice::kFloat32 ? DType::kFloat32 : DType::kBFloat16;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(DeviceChoice device, DTypeChoice dtype,
                                                     int threads) {
  if (device != DeviceChoice::kCpu) {
    auto cuda = MakeCudaBackend(ChooseDType(dtype, true));
    if (cuda.ok() || device == DeviceChoice::kCuda) return cuda;
    spdlog::debug("no cuda: {}", std::string(StatusMessage(cuda.status())));
  }
  return MakeCpuBackend({.dtype = ChooseDType(dtype, CpuHasNativeBFloat16()), .threads = threads});
}

}  // namespace tessera
