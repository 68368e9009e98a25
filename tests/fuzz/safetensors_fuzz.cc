// Any bytes as a .safetensors file: refused, or every tensor lies inside of it.
#include "engine/check.h"
#include "engine/checkpoint/safetensors.h"
#include "tests/fuzz/input_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file =
      tessera::Safetensors::Open(tessera::fuzz::WriteInput("model.safetensors", data, size));
  if (!file.ok()) return 0;
  const std::string_view bytes = (*file)->file().bytes();
  for (const auto& [name, tensor] : (*file)->tensors()) {
    const auto* begin = static_cast<const char*>(tensor.data);
    TESSERA_CHECK(begin >= bytes.data() && begin + tensor.bytes() <= bytes.data() + bytes.size());
  }
  return 0;
}
