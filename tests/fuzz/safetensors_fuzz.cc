// Any bytes as a .safetensors file: refused, or every tensor lies inside of it.
#include "engine/base/check.h"
#include "engine/checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto tensors = tessera::ReadSafetensors(bytes);
  if (!tensors.ok()) return 0;
  for (const auto& [name, tensor] : *tensors) {
    const auto* begin = static_cast<const char*>(tensor.data);
    TESSERA_CHECK(begin >= bytes.data() && begin + tensor.bytes <= bytes.data() + bytes.size());
    if (tensor.dtype) TESSERA_CHECK(tensor.View().bytes() == tensor.bytes);
  }
  return 0;
}
