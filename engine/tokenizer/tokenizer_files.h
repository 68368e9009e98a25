// Reads the small files of a tokenizer whole, with errors that name the file and the place.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/json_file.h"

namespace tessera {

// Errors as MappedFile::Open; InvalidArgument where the file is larger than 256 MiB.
absl::StatusOr<std::string> ReadTextFile(const std::filesystem::path& path);

// `value` as a token id, 0 to kMaxTokenId; InvalidArgument names `what`.
inline constexpr int32_t kMaxTokenId = 1 << 20;  // tables have a row for each id
absl::StatusOr<int32_t> TokenIdOf(const nlohmann::json& value, const std::string& what);

// A value for an error message: at most 60 characters of its JSON.
std::string Excerpt(const nlohmann::json& value);

}  // namespace tessera
