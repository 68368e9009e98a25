// How a model is read, what bounds the engine, and what it tells of the model that it serves: plain
// values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/api/generation_defaults.h"
#include "engine/api/stats.h"
#include "engine/backend/tensor.h"
#include "engine/image/image_processor.h"
#include "engine/model/router_mode.h"

namespace tessera {

// How a model is read.
struct ModelOptions {
  std::filesystem::path model_dir;
  // empty: the published geometry of the tower that config.json names
  std::filesystem::path vision_tower_dir;
  std::filesystem::path base_dir;  // of an adapter release: the model it was trained on; else empty
  RouterMode router = RouterMode::kDeterministic;
  // Experts drop the tokens that the reference's drop where a config bounds their capacity. Prompts
  // are then computed whole and no prefix is reused.
  bool emulate_capacity = false;
  std::vector<std::string> served_names;  // what requests may call it; none: DefaultModelName()
};

// What bounds the engine. Every limit is a refusal with a reason or a delay, never a crash.
struct EngineOptions {
  // KV rows per block; 0: what the device reads best (Backend::BlockRows)
  int32_t block_size = 0;
  // 0: what the device says (Backend::CacheBytes), at least one full context
  int64_t kv_cache_bytes = 0;
  // of keys and values; unset: the activations' (Backend::CheckKvDType)
  std::optional<DType> kv_dtype;
  int32_t max_running = 64;   // sequences in a step
  int32_t max_waiting = 256;  // requests queued before RESOURCE_EXHAUSTED
  // held for requests, from the port to the encoder (MemoryBudget)
  int64_t max_inflight_bytes = int64_t{512} << 20;
  int32_t step_tokens = 512;  // rows per step: decoding ones first, then prefill
  // estimated time of prefill and vision work in a step, at most; see TokenBudgetController
  double step_seconds = 0.25;
  // the same relative to the time of the decoding rows beside it
  double stall_ratio = 1.0;
  int32_t max_context = 0;                         // 0: the model's own
  int64_t image_cache_bytes = int64_t{256} << 20;  // encoded images kept for reuse
  int32_t max_images = 16;                         // per request
  // rows that an image of any size may take, else it is shrunk; 0: the model's own limit
  int32_t max_image_tokens = 4096;
  // that decode images; 0: as many as there are cores, at least two
  int32_t image_threads = 0;
  bool prefix_cache = true;
  // a step before the last one's tokens are known; unset: where the device works beside the host
  std::optional<bool> plan_ahead;
  // Unset: kExpert for models with few experts, else kLayer (UsualRoutingTelemetry).
  std::optional<RoutingTelemetry> routing_telemetry;
};

// Facts of the loaded model, for GetModel.
struct ModelInfo {
  std::string name;                      // ModelOptions::served_names[0]
  std::vector<std::string> other_names;  // that requests may call it, too
  std::string architecture;              // config.json's model_type
  std::string dtype;
  std::string device;
  int32_t max_context = 0;
  // tokens that prompts may hold and answers can: the tokenizer's that have a row in the head
  int32_t vocabulary = 0;
  int32_t image_tokens = 0;  // per image; 0: depends on its size, or none
  int64_t parameters = 0;
  int64_t active_parameters = 0;  // of the language model, used per token
  int64_t weight_bytes = 0;
  std::string weight_dtype;  // of linear layers and experts of the language model
  std::string kv_dtype;
  int64_t kv_bytes_per_token = 0;
  int32_t kv_block_size = 16;  // tokens per KV block
  int32_t max_images = 16;     // per request
  int32_t layers = 0;
  int32_t moe_layers = 0;
  int32_t experts = 0;
  int32_t experts_per_token = 0;
  bool takes_images = false;
  ImageMode image_mode = ImageMode::kPad;
  std::vector<int32_t> eos_ids;
  GenerationDefaults default_sampling;  // what requests get where they set none
  std::vector<std::string> warnings;    // told at load
};

}  // namespace tessera
