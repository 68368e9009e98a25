#include "engine/input/tokenizer_files.h"

#include <fmt/format.h>

#include <fstream>
#include <utility>

#include "engine/status.h"

namespace tessera {
namespace {

constexpr std::streamoff kMaxFileBytes = 256LL << 20;

}  // namespace

absl::StatusOr<std::string> ReadTextFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : -1;
  if (size < 0) return absl::NotFoundError(fmt::format("{}: cannot be read", path.string()));
  if (size > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} bytes are more than the {} a tokenizer's file may have", path.string(),
                    size, kMaxFileBytes));
  }
  std::string text(static_cast<size_t>(size), '\0');
  file.seekg(0);
  if (!file.read(text.data(), size)) {
    return absl::DataLossError(fmt::format("{}: ends before its {} bytes", path.string(), size));
  }
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
