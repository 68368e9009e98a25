// Any bytes as what torch.save writes: refused, or every tensor can be copied out of them.
#include <vector>

#include "engine/base/check.h"
#include "engine/checkpoint/torch_archive.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kMostCopied = 1 << 16;  // a stride of zero makes much of little
  const auto tensors = tessera::ReadTorchArchive({reinterpret_cast<const char*>(data), size});
  if (!tensors.ok()) return 0;
  for (const auto& [name, tensor] : *tensors) {
    if (!tensor.dtype || tensor.bytes > kMostCopied) continue;
    std::vector<std::byte> copy(tensor.bytes);
    if (tensor.strides.empty()) {
      const auto* begin = static_cast<const std::byte*>(tensor.data);
      copy.assign(begin, begin + tensor.bytes);
    } else {
      tessera::CopyRowMajor(tensor, copy.data());
    }
    TESSERA_CHECK(tensor.View().bytes() == tensor.bytes);
  }
  return 0;
}
