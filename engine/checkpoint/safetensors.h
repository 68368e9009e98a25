// One .safetensors file: 8 bytes of header length (little endian), a JSON header {name: {dtype, shape, data_offsets}}, then the
// tensors' bytes without holes or overlaps (format: huggingface/safetensors, README "Format").
//
// Nothing in the file is trusted: every integer is checked in 64 bits before it is used.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/backend/tensor.h"
#include "engine/checkpoint/mapped_file.h"

namespace tessera {

class Safetensors {
 public:
  // Errors name the file and, where one is at fault, the tensor.
  static absl::StatusOr<std::unique_ptr<Safetensors>> Open(const std::filesystem::path& path);

  // Views into the mapped file, by name.
  const std::map<std::string, HostTensor>& tensors() const { return tensors_; }
  const MappedFile& file() const { return *file_; }

 private:
  std::unique_ptr<MappedFile> file_;
  std::map<std::string, HostTensor> tensors_;
};

}  // namespace tessera
