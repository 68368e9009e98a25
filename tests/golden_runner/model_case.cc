#include "tests/golden_runner/model_case.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "engine/base/json_file.h"
#include "engine/base/status.h"
#include "engine/model/arch/architectures.h"
#include "engine/model/weight_loader.h"

namespace tessera::golden {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

absl::StatusOr<std::string> ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(fmt::format("{}: cannot be read", path.string()));
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

Role RoleOf(const std::string& name) {
  if (name == "system") return Role::kSystem;
  return name == "assistant" ? Role::kAssistant : Role::kUser;
}

absl::StatusOr<Message> ReadMessage(const json& source, const std::vector<EncodedImage>& images,
                                    PromptMessage& prompt) {
  Message message;
  message.role = prompt.role = RoleOf(source.at("role").get<std::string>());
  for (const json& part : source.at("content")) {
    if (part.contains("image")) {
      const size_t index = part["image"].get<size_t>();
      if (index >= images.size()) return absl::InvalidArgumentError("no such image");
      message.parts.emplace_back(images[index]);
      prompt.parts.emplace_back(ImageRef{static_cast<int>(index)});
    } else {
      message.parts.emplace_back(part.at("text").get<std::string>());
      prompt.parts.emplace_back(part.at("text").get<std::string>());
    }
  }
  return message;
}

// Ids with the case's own placeholder, which may stand once for an image or once for each of its
// rows. `grids`: [frames, rows, columns] of patches of each image, where they differ.
std::vector<int32_t> ReadIds(const json& source, int32_t placeholder, size_t images,
                             const json& grids) {
  const auto ids = source.get<std::vector<int32_t>>();
  const size_t places = static_cast<size_t>(std::count(ids.begin(), ids.end(), placeholder));
  std::vector<size_t> each(images, images == 0 ? 1 : std::max<size_t>(1, places / images));
  for (size_t i = 0; i < grids.size(); ++i) {
    each.at(i) = grids[i].at(1).get<size_t>() * grids[i].at(2).get<size_t>() / 4;
  }
  std::vector<int32_t> read;
  size_t image = 0;
  size_t left = 0;
  for (const int32_t id : ids) {
    if (id != placeholder) {
      read.push_back(id);
    } else if (left > 0) {
      --left;
    } else {
      read.push_back(kImagePlaceholder);
      left = each.at(image++) - 1;
    }
  }
  return read;
}

bool GivesPrompt(const PromptTemplate& text, const GoldenRequest& golden) {
  const auto built = BuildPrompt(text, golden.messages, SpecialTokens::kText);
  return built.ok() && PromptText(*built) == golden.prompt;
}

// A request in another template than the model's: one that differs in its system text only is a
// conversation with that as its system message, any other goes as it is.
void UseTemplate(const PromptTemplate& own, const std::string& name,
                 const std::vector<EncodedImage>& images, GoldenRequest& golden) {
  if (const auto format = FindPromptFormat(name); format && !golden.messages.empty()) {
    const std::string system(TemplateOf(*format).system);
    auto& messages = std::get<std::vector<Message>>(golden.request.input);
    messages.insert(messages.begin(), {Role::kSystem, {system}});
    golden.messages.insert(golden.messages.begin(), {Role::kSystem, {system}});
    if (GivesPrompt(own, golden)) return;
  }
  golden.messages.clear();
  golden.request.input = RawPrompt{golden.prompt, images};
  golden.request.parse_special_tokens = true;
}

absl::StatusOr<GoldenRequest> ReadRequest(const json& source, const json& whole,
                                          const fs::path& directory) {
  GoldenRequest golden;
  golden.name = source.at("name").get<std::string>();
  golden.prompt = source.at("prompt").get<std::string>();
  golden.input_ids =
      ReadIds(source.at("input_ids"), whole.value("image_placeholder", kImagePlaceholder),
              source.at("images").size(), source.value("image_grid_thw", json::array()));
  golden.tokens = source.at("tokens").get<std::vector<int32_t>>();
  golden.finish = source.at("finish").get<std::string>();
  golden.text_exact = source.at("text_exact").get<std::string>();

  std::vector<EncodedImage> images;
  for (const json& name : source.at("images")) {
    ASSIGN_OR_RETURN(std::string bytes, ReadFile(directory / "images" / name.get<std::string>()));
    images.push_back({std::move(bytes), ""});
  }
  std::vector<Message> messages;
  for (const json& item : source.at("messages")) {
    ASSIGN_OR_RETURN(Message message, ReadMessage(item, images, golden.messages.emplace_back()));
    messages.push_back(std::move(message));
  }
  Request& request = golden.request;
  request.id = golden.name;
  request.input = std::move(messages);
  if (golden.messages.empty()) request.input = RawPrompt{golden.prompt, images};
  request.sampling.temperature = 0;
  request.sampling.max_tokens = source.at("max_new_tokens").get<int32_t>();
  request.image_mode =
      source.at("image_mode").get<std::string>() == "crop" ? ImageMode::kCrop : ImageMode::kPad;
  request.parse_special_tokens = source.value("special_tokens_in_text", "") == "parse";
  const std::string usual = whole.value("template", "");
  const std::string name = source.value("template", usual);
  if (const auto own = FindPromptFormat(usual); own && name != usual && !golden.messages.empty()) {
    UseTemplate(TemplateOf(*own), name, images, golden);
  }
  return golden;
}

}  // namespace

std::vector<float> ModelCase::Expected(const GoldenRequest& request,
                                       const std::string& tensor) const {
  const auto found = expected->tensors().find(request.name + "/" + tensor);
  return found == expected->tensors().end() ? std::vector<float>() : ToFloats(found->second.View());
}

absl::StatusOr<ModelCase> ReadModelCase(const fs::path& directory) {
  ModelCase golden;
  golden.name = directory.filename().string();
  golden.options.model_dir = directory / "model";
  golden.options.emulate_capacity = true;  // as the reference does wherever it would drop
  if (fs::exists(directory / "vision_tower")) {
    golden.options.vision_tower_dir = directory / "vision_tower";
  }
  if (fs::exists(directory / "base")) golden.options.base_dir = directory / "base";
  const auto spec = ReadModelSpec(
      {golden.options.model_dir, golden.options.vision_tower_dir, golden.options.base_dir});
  golden.reuses_prefixes = !spec.ok() || !spec->decoder.capacity;
  ASSIGN_OR_RETURN(golden.expected, TensorFile::Open(directory / "expected.safetensors"));
  ASSIGN_OR_RETURN(const json expected, ReadJsonFile(directory / "expected.json"));
  for (const json& source : expected.at("requests")) {
    ASSIGN_OR_RETURN(GoldenRequest request, ReadRequest(source, expected, directory));
    golden.requests.push_back(std::move(request));
  }
  return golden;
}

}  // namespace tessera::golden
