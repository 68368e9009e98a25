// The settings of a model's image processor, wherever the release keeps them.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera {

struct ProcessorConfig {
  nlohmann::json settings;  // an object; keys that are null are left out: they mean the default
  std::string place;        // file and key, for errors
  std::vector<std::string> warnings;
};

// As transformers 5 does: the object "image_processor" of processor_config.json, the only one of
// the files that it writes, else preprocessor_config.json, which is all that transformers 4 writes
// and which it prefers where both are there; a warning names what the two then differ in.
// video_preprocessor_config.json and "video_processor" are not read: films are not taken.
// NOT_FOUND says what `reader`, e.g. "Qwen3-VL", wants the file for.
absl::StatusOr<ProcessorConfig> ReadProcessorConfig(const std::filesystem::path& directory,
                                                    std::string_view reader);

}  // namespace tessera
