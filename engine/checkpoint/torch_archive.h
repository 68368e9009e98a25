// What torch.save writes since PyTorch 1.6: a zip archive of one pickle, <root>/data.pkl, that
// describes tensors, and one file <root>/data/<key> of raw little-endian elements for each storage
// (pytorch, docs/source/notes/serialization.rst; torch/_utils.py: _rebuild_tensor_v2). A tensor is
// a window into a storage: offset, sizes, strides.
//
// Reading runs nothing: only the globals that rebuild tensors are known, everything else is refused
// by name.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/checkpoint/stored_tensor.h"

namespace tessera {

// Views into `bytes`, a whole file. The tensors of nested dicts and lists are named "outer.inner",
// of a dict under the key "state_dict" just "inner". Errors name the byte of data.pkl and the
// tensor, where one is at fault.
absl::StatusOr<StoredTensors> ReadTorchArchive(std::string_view bytes);

}  // namespace tessera
