#include "engine/checkpoint/part_names.h"

#include <fmt/format.h>

#include "engine/base/status.h"

namespace tessera {

std::optional<std::string> CanonicalName(const CheckpointPart& part, const std::string& name) {
  if (name.compare(0, part.only.size(), part.only) != 0) return std::nullopt;
  std::string result = name;
  for (const TensorRename& rename : part.renames) {
    const size_t at = rename.anywhere ? result.find(rename.from)
                      : result.compare(0, rename.from.size(), rename.from) == 0 ? 0
                                                                                : std::string::npos;
    if (at == std::string::npos) continue;
    if (!rename.to) return std::nullopt;
    result.replace(at, rename.from.size(), *rename.to);
  }
  return result;
}

absl::Status PartNames::Add(const TensorFile& file) {
  for (const auto& [name, tensor] : file.tensors()) {
    if (const absl::Status status = AddTensor(name, tensor); !status.ok()) {
      return Annotate(status, file.path().string());
    }
  }
  return absl::OkStatus();
}

absl::Status PartNames::AddTensor(const std::string& own_name, const StoredTensor& tensor) {
  const std::optional<std::string> name = CanonicalName(part_, own_name);
  if (!name) return absl::OkStatus();
  const auto [known, is_new] = own_names_.emplace(*name, own_name);
  if (!is_new && known->second == own_name) {
    return absl::InvalidArgumentError(
        fmt::format("tensor \"{}\" is also in another shard", own_name));
  }
  if (!is_new) {
    return absl::InvalidArgumentError(fmt::format("tensors \"{}\" and \"{}\" would both be \"{}\"",
                                                  known->second, own_name, *name));
  }
  if (!part_.lora_scale) {
    tensors_.emplace(*name, tensor);
    return absl::OkStatus();
  }
  if (const std::optional<LoraName> half = ParseLoraName(*name)) {
    std::optional<StoredTensor>& slot =
        half->is_a ? halves_[half->module].a : halves_[half->module].b;
    if (slot) {
      return absl::InvalidArgumentError(
          fmt::format("tensor \"{}\": the module has another of its kind", own_name));
    }
    slot = tensor;
    return absl::OkStatus();
  }
  if (name->find(".lora_embedding_") != std::string::npos ||
      name->find(".lora_magnitude_vector") != std::string::npos) {
    return absl::UnimplementedError(
        fmt::format("tensor \"{}\": only LoRA of linear layers is served", own_name));
  }
  tensors_.emplace(*name, tensor);
  return absl::OkStatus();
}

absl::Status PartNames::PairLora() {
  for (const auto& [module, halves] : halves_) {
    if (!halves.a || !halves.b) {
      return absl::InvalidArgumentError(fmt::format("{}: tensor \"{}.{}.weight\" is missing",
                                                    part_.path.string(), module,
                                                    halves.a ? "lora_B" : "lora_A"));
    }
    lora_.emplace(module, LoraPair{*halves.a, *halves.b, *part_.lora_scale});
  }
  return absl::OkStatus();
}

}  // namespace tessera
