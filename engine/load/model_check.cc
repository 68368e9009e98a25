#include "engine/load/model_check.h"

#include <fmt/format.h>

#include <array>

#include "engine/backend/dry_run_store.h"
#include "engine/base/escape_text.h"
#include "engine/base/status.h"
#include "engine/load/loaded_model.h"
#include "engine/model/kv_cache.h"

namespace tessera {
namespace {

constexpr std::array kDTypes = {DType::kFloat32, DType::kBFloat16, DType::kFloat16};

void AppendModel(const ModelInfo& info, std::string& text) {
  text += fmt::format("model: {}\n", EscapeText(info.name));
  text += fmt::format("architecture: {}\n", EscapeText(info.architecture));
  text += fmt::format("parameters: {}\n", info.parameters);
  text += fmt::format("active_parameters: {}\n", info.active_parameters);
  text += fmt::format("layers: {}\n", info.layers);
  text += fmt::format("moe_layers: {}\n", info.moe_layers);
  text += fmt::format("experts: {}\n", info.experts);
  text += fmt::format("experts_per_token: {}\n", info.experts_per_token);
  text += fmt::format("vocabulary: {}\n", info.vocabulary);
  text += fmt::format("max_context: {}\n", info.max_context);
  text += fmt::format("image_tokens: {}\n", info.image_tokens);
}

void AppendAll(std::string_view key, const std::vector<std::string>& values, std::string& text) {
  for (const std::string& value : values) {
    text += fmt::format("{}: {}\n", key, EscapeText(value));
  }
}

}  // namespace

ModelCheck CheckModel(const ModelOptions& options) {
  ModelCheck check;
  for (const DType dtype : kDTypes) {
    DryRunStore store(dtype);
    const auto model = LoadModel(store, options, nullptr, &check.headers);
    check.faults = check.headers.faults.Lines();
    if (!model.ok()) {
      check.faults.push_back(std::string(StatusMessage(model.status())));
      return check;
    }
    const ModelInfo& info = (*model)->info;
    const DecoderSpec& decoder = (*model)->spec.decoder;
    check.memory.push_back({dtype, store.bytes(), KvCache::BlockBytes(decoder, 1, dtype)});
    check.fp8_kv_bytes_per_token = KvCache::BlockBytes(decoder, 1, DType::kFloat8);
    check.info = info;
    check.unused = (*model)->unused_tensors;
    check.warnings = (*model)->spec.warnings;
  }
  return check;
}

std::string FormatCheck(const ModelCheck& check) {
  std::string text;
  if (check.info) AppendModel(*check.info, text);
  text += fmt::format("tensors: {}\n", check.headers.tensors);
  text += fmt::format("tensor_parameters: {}\n", check.headers.parameters);
  text += fmt::format("tensor_bytes: {}\n", check.headers.bytes);
  for (const ModelCheck::Memory& memory : check.memory) {
    text += fmt::format("weight_bytes_{}: {}\n", DTypeName(memory.dtype), memory.weight_bytes);
  }
  for (const ModelCheck::Memory& memory : check.memory) {
    text += fmt::format("kv_bytes_per_token_{}: {}\n", DTypeName(memory.dtype),
                        memory.kv_bytes_per_token);
  }
  if (!check.memory.empty()) {
    text += fmt::format("kv_bytes_per_token_{}: {}\n", DTypeName(DType::kFloat8),
                        check.fp8_kv_bytes_per_token);
  }
  text += fmt::format("unused_tensors: {}\n", check.unused.size());
  AppendAll("unused_tensor", GroupNames(check.unused), text);
  AppendAll("warning", check.warnings, text);
  AppendAll("fault", check.faults, text);
  text += fmt::format("servable: {}\n", check.servable() ? "yes" : "no");
  return text;
}

}  // namespace tessera
