#include "engine/tokenizer/tokenizer_files.h"

#include <fmt/format.h>

#include <utility>

#include "engine/base/mapped_file.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr size_t kMaxFileBytes = size_t{256} << 20;

}  // namespace

absl::StatusOr<std::string> ReadTextFile(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  if (file->bytes().size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} bytes are more than the {} a tokenizer's file may have", path.string(),
                    file->bytes().size(), kMaxFileBytes));
  }
  std::string text(file->bytes());
  RETURN_IF_ERROR(file->CheckUnchanged());
  return text;
}

absl::StatusOr<int32_t> TokenIdOf(const nlohmann::json& value, const std::string& what) {
  const bool in_range = value.is_number_integer() &&
                        (value.is_number_unsigned() || value.get<int64_t>() >= 0) &&
                        value.get<uint64_t>() <= static_cast<uint64_t>(kMaxTokenId);
  if (in_range) return value.get<int32_t>();
  return absl::InvalidArgumentError(
      fmt::format("{}: id {} is not a number from 0 to {}", what, Excerpt(value), kMaxTokenId));
}

std::string Excerpt(const nlohmann::json& value) {
  constexpr size_t kLongest = 60;
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true);
  if (text.size() > kLongest) text.replace(kLongest, std::string::npos, "...");
  return text;
}

}  // namespace tessera
