#include "server/metrics.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "server/metric_set.h"
#include "server/version.h"

namespace tessera {
namespace {

void AddGauges(const ModelInfo& model, const EngineStats& stats, MetricSet& set) {
  set.Gauge("tessera_requests_running", "Requests that hold KV blocks.",
            static_cast<double>(stats.running));
  set.Gauge("tessera_requests_waiting", "Requests accepted but not yet running.",
            static_cast<double>(stats.waiting));
  const auto total = static_cast<double>(stats.kv_blocks_total);
  set.Gauge("tessera_kv_cache_usage_ratio", "Share of the KV blocks that running requests hold.",
            total > 0 ? static_cast<double>(stats.kv_blocks_used) / total : 0);
  const std::pair<const char*, int64_t> states[] = {
      {"used", stats.kv_blocks_used},
      {"cached", stats.kv_blocks_cached},
      {"free", stats.kv_blocks_total - stats.kv_blocks_used - stats.kv_blocks_cached}};
  for (const auto& [state, blocks] : states) {
    set.Gauge("tessera_kv_cache_blocks",
              "KV blocks held by running requests, free with reusable contents, and free.",
              static_cast<double>(blocks), {{"state", state}});
  }
  set.Gauge("tessera_kv_cache_config_info", "Geometry of the KV cache; always 1.", 1,
            {{"block_size", std::to_string(model.kv_block_size)},
             {"num_blocks", std::to_string(stats.kv_blocks_total)},
             {"dtype", model.kv_dtype}});
  set.Gauge("tessera_model_warnings", "Warnings about the model, which the log and GetModel tell.",
            static_cast<double>(model.warnings.size()));
  set.Gauge("tessera_image_cache_bytes", "Bytes of encoded images kept for reuse.",
            static_cast<double>(stats.image_cache_bytes));
  set.Gauge("tessera_engine_heartbeat_age_seconds",
            "Seconds since the engine's thread last came round; small also when idle.",
            stats.seconds_since_step);
}

// What this process holds: together about its resident memory where the device is the CPU.
void AddMemory(const ModelInfo& model, const EngineStats& stats, const MemoryBudget& memory,
               MetricSet& set) {
  constexpr char kModelHelp[] = "Bytes of the model's weights and of all KV blocks.";
  set.Gauge("tessera_model_memory_bytes", kModelHelp, static_cast<double>(model.weight_bytes),
            {{"use", "weights"}});
  set.Gauge(
      "tessera_model_memory_bytes", kModelHelp,
      static_cast<double>(stats.kv_blocks_total * model.kv_block_size * model.kv_bytes_per_token),
      {{"use", "kv_cache"}});
  for (int i = 0; i < kMemoryUses; ++i) {
    const auto use = static_cast<MemoryUse>(i);
    set.Gauge("tessera_request_memory_bytes",
              "Bytes held for requests until they are freed, cancelled ones included.",
              static_cast<double>(memory.bytes(use)), {{"use", std::string(MemoryUseName(use))}});
  }
  set.Gauge("tessera_request_memory_limit_bytes", "Bytes that requests may hold; more are refused.",
            static_cast<double>(memory.max_bytes()));
}

void AddAges(const EngineStats& stats, MetricSet& set) {
  for (int i = 0; i < kStandings; ++i) {
    set.Gauge("tessera_oldest_request_age_seconds",
              "How long the oldest request has stood where it stands; 0: none stands there.",
              stats.oldest_seconds[static_cast<size_t>(i)],
              {{"standing", std::string(StandingName(static_cast<Standing>(i)))}});
  }
  set.Gauge("tessera_preparing_turn_age_seconds",
            "How long the longest turn of preparing under way has taken: one text or one image.",
            stats.longest_turn_seconds);
}

void AddCounters(const EngineStats& stats, MetricSet& set) {
  const auto count = [&](const char* name, const char* help, uint64_t value,
                         MetricSet::Labels labels = {}) {
    set.Counter(name, help, static_cast<double>(value), std::move(labels));
  };
  for (int i = 0; i < kOutcomes; ++i) {
    count("tessera_requests_total", "Requests that the engine was given, by how they ended.",
          stats.outcomes[i], {{"outcome", std::string(OutcomeName(static_cast<Outcome>(i)))}});
  }
  for (int stage = 0; stage < kStages; ++stage) {
    for (int i = 0; i < kOutcomes; ++i) {
      count("tessera_requests_ended_total",
            "Requests that the engine accepted, by the stage in which they ended and how.",
            stats.ended[stage][i],
            {{"stage", std::string(StageName(static_cast<Stage>(stage)))},
             {"outcome", std::string(OutcomeName(static_cast<Outcome>(i)))}});
    }
  }
  constexpr char kPromptHelp[] = "Tokens of prompts, cached ones included.";
  count("tessera_prompt_tokens_total", kPromptHelp, stats.prompt_text_tokens, {{"kind", "text"}});
  count("tessera_prompt_tokens_total", kPromptHelp, stats.prompt_image_tokens, {{"kind", "image"}});
  count("tessera_prompt_tokens_cached_total", "Tokens of prompts taken from the prefix cache.",
        stats.prompt_cached_tokens);
  count("tessera_generation_tokens_total", "Tokens of answers.", stats.generated_tokens);
  count("tessera_prefix_cache_queried_tokens_total", "Tokens looked up in the prefix cache.",
        stats.prefix_queried_tokens);
  count("tessera_prefix_cache_hit_tokens_total", "Tokens found in the prefix cache.",
        stats.prefix_hit_tokens);
  count("tessera_preemptions_total", "Times that a request gave its KV blocks to others.",
        stats.preemptions);
  count("tessera_images_decoded_total", "Images whose decoding was begun.", stats.images_decoded);
  count("tessera_images_encoded_total", "Images that the vision encoder computed.",
        stats.images_encoded);
  constexpr char kLookupHelp[] = "Images looked up among those already encoded.";
  count("tessera_image_cache_lookups_total", kLookupHelp, stats.image_cache_hits,
        {{"result", "hit"}});
  count("tessera_image_cache_lookups_total", kLookupHelp, stats.image_cache_misses,
        {{"result", "miss"}});
  for (int i = 0; i < kFallbackReasons; ++i) {
    count("tessera_kernel_fallbacks_total",
          "Shapes of matrix products that do not run as the device does them best, by why.",
          stats.kernel_fallbacks[i],
          {{"reason", std::string(FallbackReasonName(static_cast<FallbackReason>(i)))}});
  }
  count("tessera_steps_total", "Steps of the engine.", stats.steps);
  set.Counter("tessera_backend_seconds_total", "Seconds of the steps spent in the device's work.",
              stats.backend_seconds_total);
}

void AddHistograms(const EngineStats& stats, MetricSet& set) {
  set.AddHistogram("tessera_time_to_first_token_seconds",
                   "From a request's arrival to its first token.", stats.time_to_first_token);
  set.AddHistogram("tessera_inter_token_latency_seconds", "Between two tokens of an answer.",
                   stats.inter_token);
  set.AddHistogram("tessera_request_duration_seconds", "From a request's arrival to its end.",
                   stats.end_to_end);
  for (int i = 0; i < kStages; ++i) {
    set.AddHistogram("tessera_request_stage_seconds", "Of a request, in each stage.",
                     stats.stages[i], {{"stage", std::string(StageName(static_cast<Stage>(i)))}});
  }
  set.AddHistogram("tessera_request_prompt_tokens", "Tokens of a request's prompt.",
                   stats.prompt_tokens);
  set.AddHistogram("tessera_request_generated_tokens", "Tokens of a request's answer.",
                   stats.answer_tokens);
  set.AddHistogram("tessera_step_rows", "Rows of a step: decoding ones and prompt ones.",
                   stats.step_rows);
  set.AddHistogram("tessera_step_seconds", "Duration of a step.", stats.step_seconds);
}

constexpr const char* kModalityNames[kModalities] = {"text", "image"};

// By layer, so that busiest · experts / tokens tells how uneven the steps were; 1 is even.
void AddRoutedLayers(const EngineStats& stats, MetricSet& set) {
  for (size_t i = 0; i < stats.moe_layer_index.size(); ++i) {
    set.Gauge("tessera_moe_layer_experts", "Experts of a layer.", stats.layer_experts.at(i),
              {{"layer", std::to_string(stats.moe_layer_index[i])}});
  }
  for (size_t i = 0; i < stats.layer_tokens.size(); ++i) {
    set.Counter("tessera_moe_layer_tokens_total",
                "Tokens that a layer's router gave to experts, each as often as it was given.",
                static_cast<double>(stats.layer_tokens[i]),
                {{"layer", std::to_string(stats.moe_layer_index.at(i / kModalities))},
                 {"modality", kModalityNames[i % kModalities]}});
  }
  for (size_t i = 0; i < stats.busiest_tokens.size(); ++i) {
    set.Counter("tessera_moe_busiest_expert_tokens_total",
                "Tokens that a layer's router gave to the busiest expert of each step.",
                static_cast<double>(stats.busiest_tokens[i]),
                {{"layer", std::to_string(stats.moe_layer_index.at(i))}});
  }
}

void AddExperts(const EngineStats& stats, MetricSet& set) {
  const size_t row = static_cast<size_t>(stats.experts) * kModalities;
  for (size_t i = 0; i < stats.expert_tokens.size(); ++i) {
    const size_t layer = i / row;
    const size_t expert = i % row / kModalities;
    if (static_cast<int32_t>(expert) >= stats.layer_experts.at(layer)) continue;
    set.Counter("tessera_moe_expert_tokens_total",
                "Tokens that a layer's router gave to an expert.",
                static_cast<double>(stats.expert_tokens[i]),
                {{"layer", std::to_string(stats.moe_layer_index.at(layer))},
                 {"expert", std::to_string(expert)},
                 {"modality", kModalityNames[i % kModalities]}});
  }
}

}  // namespace

std::vector<prometheus::MetricFamily> EngineFamilies(const ModelInfo& model,
                                                     const EngineStats& stats,
                                                     const MemoryBudget& memory,
                                                     double model_load_seconds) {
  MetricSet set({{"model_name", model.name}});
  AddGauges(model, stats, set);
  AddMemory(model, stats, memory, set);
  AddAges(stats, set);
  AddCounters(stats, set);
  AddHistograms(stats, set);
  AddRoutedLayers(stats, set);
  AddExperts(stats, set);
  set.Gauge("tessera_model_load_seconds", "From the start of reading the model to readiness.",
            model_load_seconds);
  return set.Take();
}

std::vector<prometheus::MetricFamily> EngineMetrics::Collect() const {
  MetricSet build;
  build.Gauge("tessera_build_info", "The program's version and its sources' commit; always 1.", 1,
              {{"version", kVersion}, {"commit", kCommit}});
  std::vector<prometheus::MetricFamily> families = build.Take();
  if (Engine* const engine = slot_.engine()) {
    std::ranges::move(
        EngineFamilies(engine->model(), engine->Stats(), engine->memory(), slot_.load_seconds()),
        std::back_inserter(families));
  }
  return families;
}

}  // namespace tessera
