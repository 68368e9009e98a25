// One file of named tensors, mapped into memory: .safetensors, or what torch.save wrote.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/base/mapped_file.h"
#include "engine/checkpoint/stored_tensor.h"

namespace tessera {

class TensorFile {
 public:
  // .bin, .pt and .pth are PyTorch's, everything else safetensors. Errors name the file and the
  // place in it.
  static absl::StatusOr<std::unique_ptr<TensorFile>> Open(const std::filesystem::path& path);

  const StoredTensors& tensors() const { return tensors_; }
  const std::filesystem::path& path() const { return path_; }
  // Whether `data` lies in the mapped file.
  bool Holds(const void* data) const;
  const MappedFile& file() const { return *file_; }

 private:
  std::filesystem::path path_;
  std::unique_ptr<MappedFile> file_;
  StoredTensors tensors_;
};

}  // namespace tessera
