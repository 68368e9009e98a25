// The .safetensors format: 8 bytes of header length (little endian), a JSON header {name: {dtype,
// shape, data_offsets}}, then the tensors' bytes without holes or overlaps
// (huggingface/safetensors, README "Format").
//
// Nothing in the file is trusted: every integer is checked in 64 bits before it is used.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/checkpoint/stored_tensor.h"

namespace tessera {

// Views into `bytes`, a whole file. Tensors of every dtype of the format are listed. Errors name
// the tensor, where one is at fault.
absl::StatusOr<StoredTensors> ReadSafetensors(std::string_view bytes);

}  // namespace tessera
