#include "engine/model/architectures.h"

#include <fmt/format.h>

#include "engine/model/arch/arch.h"
#include "engine/status.h"

namespace tessera {
namespace {

constexpr Architecture kArchitectures[] = {
    {"llava", ReadLlava},  // both LLaVA's own layout and transformers'
    {"llava_llama", ReadLlavaOriginal},
    {"moe_llava_llama", ReadMoeLlavaLlama},
    {"moe_llava_minicpm", ReadMoeLlavaMiniCpm},
    {"moe_llava_mistral", ReadMoeLlavaMistral},
    {"moe_llava_phi", ReadMoeLlavaPhi},
    {"moe_llava_qwen", ReadMoeLlavaQwen},
    {"moe_llava_qwen1_5", ReadMoeLlavaQwen2},
    {"moe_llava_qwen2", ReadMoeLlavaQwen2},
    {"moe_llava_stablelm", ReadMoeLlavaStableLm},
};

}  // namespace

std::span<const Architecture> Architectures() { return kArchitectures; }

absl::StatusOr<ModelSpec> ReadModelSpec(const ModelDirectories& directories) {
  const std::filesystem::path path = directories.model / "config.json";
  ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonFile(path));
  JsonFields config(json, path.string());
  const std::string model_type = config.String("model_type");
  RETURN_IF_ERROR(config.status());
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.model_type == model_type) {
      ASSIGN_OR_RETURN(ModelSpec spec, architecture.read(config, directories));
      RETURN_IF_ERROR(config.status());
      spec.architecture = model_type;
      return spec;
    }
    known += (known.empty() ? "" : ", ") + std::string(architecture.model_type);
  }
  return absl::UnimplementedError(fmt::format("{}: model_type \"{}\" is not served; known are {}",
                                              path.string(), model_type, known));
}

}  // namespace tessera
