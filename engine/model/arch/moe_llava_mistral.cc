// MoE-LLaVA on Mistral and on OpenChat, which is a Mistral whose answers end with a token of their
// own: grouped queries, and a window of keys that a prompt's rows see.
#include "engine/model/arch/arch.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/arch/moe_llava.h"

namespace tessera {
namespace {

constexpr int kMistralEndId = 2;  // </s>

int ReadSlidingWindow(JsonFields& config) {
  if (!config.object().contains("sliding_window")) return 4096;
  return static_cast<int>(config.IntOr("sliding_window", 0, 0, 1 << 30));  // null: none
}

}  // namespace

absl::StatusOr<ModelSpec> ReadMoeLlavaMistral(JsonFields& config, const ModelDirectories& directories) {
  ModelSpec spec;
  ReadLlamaBlock(config, spec);
  spec.decoder.sliding_window = ReadSlidingWindow(config);
  const bool own_end =
      config.Has("eos_token_id") && config.object().at("eos_token_id") != kMistralEndId;
  spec.prompt_format = own_end ? PromptFormat::kOpenChat : PromptFormat::kMistral;
  return WithExpertsAndVision(config, directories.vision_tower, "model.", std::move(spec));
}

}  // namespace tessera
