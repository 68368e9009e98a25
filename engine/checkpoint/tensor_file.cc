#include "engine/checkpoint/tensor_file.h"

#include <functional>

#include "engine/checkpoint/safetensors.h"
#include "engine/status.h"

namespace tessera {

absl::StatusOr<std::unique_ptr<TensorFile>> TensorFile::Open(const std::filesystem::path& path) {
  auto result = std::make_unique<TensorFile>();
  result->path_ = path;
  ASSIGN_OR_RETURN(result->file_, MappedFile::Open(path));
  auto tensors = ReadSafetensors(result->file_->bytes());
  if (!tensors.ok()) return Annotate(tensors.status(), path.string());
  result->tensors_ = *std::move(tensors);
  return result;
}

bool TensorFile::Holds(const void* data) const {
  const std::string_view bytes = file_->bytes();
  const char* at = static_cast<const char*>(data);
  return std::less_equal<>()(bytes.data(), at) && std::less<>()(at, bytes.data() + bytes.size());
}

}  // namespace tessera
