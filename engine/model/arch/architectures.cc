#include "engine/model/arch/architectures.h"

#include <fmt/format.h>

#include "engine/base/presence.h"
#include "engine/base/status.h"
#include "engine/model/arch/arch.h"
#include "engine/model/unused_keys.h"

namespace tessera {
namespace {

constexpr ReleaseMark kLlavaMoleMarks[] = {{"mole.json", "mole", "llava_mole"},
                                           {"adapter_config.json", "mole", "lora"}};

constexpr Architecture kArchitectures[] = {
    {"llava", ReadLlava},  // both LLaVA's own layout and transformers'
    {"llava_llama", ReadLlavaOriginal},
    {"llava_mole", ReadLlavaMole, kLlavaMoleMarks},
    {"moe_llava_llama", ReadMoeLlavaLlama},
    {"moe_llava_minicpm", ReadMoeLlavaMiniCpm},
    {"moe_llava_mistral", ReadMoeLlavaMistral},
    {"moe_llava_phi", ReadMoeLlavaPhi},
    {"moe_llava_qwen", ReadMoeLlavaQwen},
    {"moe_llava_qwen1_5", ReadMoeLlavaQwen2},
    {"moe_llava_qwen2", ReadMoeLlavaQwen2},
    {"moe_llava_stablelm", ReadMoeLlavaStableLm},
    {"qwen3_moe", ReadQwen3Moe},
    {"qwen3_vl_moe", ReadQwen3VlMoe},
};

absl::StatusOr<ModelSpec> ReadAs(const Architecture& architecture, std::string_view family,
                                 JsonFields& config, const ModelDirectories& directories) {
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (config.Has(key)) {
      config.Refuse(key, "quantized releases are not served; use the one of 16 bits");
    }
  }
  RETURN_IF_ERROR(config.status());
  ASSIGN_OR_RETURN(ModelSpec spec, architecture.read(config, directories));
  RETURN_IF_ERROR(config.status());
  WarnOfUnread(config, UnusedConfigKeys(), family, spec.warnings);
  spec.architecture = architecture.model_type;
  return spec;
}

// What an adapter's directory lacks; empty for other directories.
std::string AdapterHint(const std::filesystem::path& directory) {
  for (const char* file :
       {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"}) {
    if (std::error_code ignored; std::filesystem::exists(directory / file, ignored)) {
      return fmt::format(
          "; {} makes it an adapter: LLaVA-MoLE's says its routing and alpha in mole.json or under "
          "\"mole\" of adapter_config.json, LLaVA's LoRA brings a config.json of model_type "
          "\"llava\"",
          file);
    }
  }
  return "";
}

absl::StatusOr<ModelSpec> ReadMarkedRelease(const ModelDirectories& directories) {
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    for (const ReleaseMark& mark : architecture.marks) {
      const std::filesystem::path path = directories.model / mark.file;
      known += fmt::format(", nor is {} with \"{}\"", mark.file, mark.key);
      ASSIGN_OR_RETURN(const bool there, IsThere(path));
      if (!there) continue;
      ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonFile(path));
      JsonFields config(json, path.string());
      if (config.Has(std::string(mark.key))) {
        return ReadAs(architecture, mark.family, config, directories);
      }
    }
  }
  return absl::NotFoundError(fmt::format("{} is not there{}{}",
                                         (directories.model / "config.json").string(), known,
                                         AdapterHint(directories.model)));
}

}  // namespace

std::span<const Architecture> Architectures() { return kArchitectures; }

absl::StatusOr<ModelSpec> ReadModelSpec(const ModelDirectories& directories) {
  const std::filesystem::path path = directories.model / "config.json";
  ASSIGN_OR_RETURN(const bool there, IsThere(path));
  if (!there) return ReadMarkedRelease(directories);
  ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonFile(path));
  JsonFields config(json, path.string());
  const std::string model_type = config.String("model_type");
  RETURN_IF_ERROR(config.status());
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.model_type == model_type) {
      return ReadAs(architecture, model_type, config, directories);
    }
    known += (known.empty() ? "" : ", ") + std::string(architecture.model_type);
  }
  return absl::UnimplementedError(fmt::format("{}: model_type \"{}\" is not served; known are {}",
                                              path.string(), model_type, known));
}

}  // namespace tessera
