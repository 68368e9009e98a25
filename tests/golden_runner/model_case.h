// A golden case of a whole model as it lies on disk: model/, vision_tower/, images/, expected.json,
// expected.safetensors.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/checkpoint/tensor_file.h"
#include "engine/engine.h"

namespace tessera::golden {

struct GoldenRequest {
  std::string name;
  Request request;                      // greedy, with the case's image mode and token limit
  std::vector<PromptMessage> messages;  // none for a raw prompt
  std::string prompt;
  std::vector<int32_t> input_ids;
  std::vector<int32_t> tokens;
  std::string finish;  // "stop", "length"
  std::string text_exact;
};

struct ModelCase {
  std::string name;
  ModelOptions options;
  bool reuses_prefixes = true;  // not where experts drop tokens
  std::vector<GoldenRequest> requests;
  std::unique_ptr<TensorFile> expected;
  // The device that the case is run on.
  std::function<absl::StatusOr<std::unique_ptr<Backend>>(DType)> make_backend;

  // The expected tensor "<request>/<tensor>" as floats; empty when the case has none.
  std::vector<float> Expected(const GoldenRequest& request, const std::string& tensor) const;
};

absl::StatusOr<ModelCase> ReadModelCase(const std::filesystem::path& directory);

}  // namespace tessera::golden
