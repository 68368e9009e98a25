// Any bytes as what torch.save writes: refused, or every element that its tensors reach lies inside of it.
#include <string_view>
#include <vector>

#include "engine/check.h"
#include "engine/checkpoint/torch_archive.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto tensors = tessera::ReadTorchArchive(bytes);
  if (!tensors.ok()) return 0;
  for (const auto& [name, tensor] : *tensors) {
    const auto* begin = static_cast<const char*>(tensor.data);
    TESSERA_CHECK(begin >= bytes.data() && begin + tensor.bytes <= bytes.data() + bytes.size());
    if (!tensor.dtype || tensor.strides.empty()) continue;
    std::vector<std::byte> row_major(tensor.bytes);
    tessera::CopyRowMajor(tensor, row_major.data());
  }
  return 0;
}
