#include "engine/checkpoint/tensor_file.h"

#include <functional>

#include "engine/base/failed_download.h"
#include "engine/base/status.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/checkpoint/torch_archive.h"

namespace tessera {

absl::StatusOr<std::unique_ptr<TensorFile>> TensorFile::Open(const std::filesystem::path& path) {
  auto result = std::make_unique<TensorFile>();
  result->path_ = path;
  ASSIGN_OR_RETURN(result->file_, MappedFile::Open(path));
  const std::string extension = path.extension().string();
  const bool torch = extension == ".bin" || extension == ".pt" || extension == ".pth";
  const std::string_view bytes = result->file_->bytes();
  absl::StatusOr<StoredTensors> tensors = torch ? ReadTorchArchive(bytes) : ReadSafetensors(bytes);
  if (!tensors.ok() && torch && bytes.starts_with("PK")) {
    return Annotate(tensors.status(), path.string());
  }
  if (!tensors.ok()) return RefusedFile(tensors.status(), path, bytes);
  result->tensors_ = *std::move(tensors);
  return result;
}

bool TensorFile::Holds(const void* data) const {
  const std::string_view bytes = file_->bytes();
  const char* at = static_cast<const char*>(data);
  return std::less_equal<>()(bytes.data(), at) && std::less<>()(at, bytes.data() + bytes.size());
}

}  // namespace tessera
