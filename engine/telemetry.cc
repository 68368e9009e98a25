#include "engine/telemetry.h"

namespace tessera {

Telemetry::Telemetry(const std::vector<int32_t>& routed_layers, int32_t experts) {
  stats_.moe_layers = static_cast<int32_t>(routed_layers.size());
  stats_.moe_layer_index = routed_layers;
  stats_.experts = experts;
  stats_.expert_tokens.assign(routed_layers.size() * static_cast<size_t>(experts) * 2, 0);
  Beat();
}

EngineStats Telemetry::Read() const {
  const Clock::duration beat(beat_.load(std::memory_order_relaxed));
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.seconds_since_step =
      std::chrono::duration<double>(Clock::now().time_since_epoch() - beat).count();
  return stats;
}

void RecordFinish(const LiveRequest& request, const Completion& completion, Outcome outcome,
                  Clock::time_point now, EngineStats& stats) {
  const Usage& usage = completion.usage;
  ++stats.outcomes[static_cast<size_t>(outcome)];
  stats.end_to_end.Observe(std::chrono::duration<double>(now - request.request.arrival).count());
  if (!request.admitted) return;
  const double stage_ms[kStages] = {usage.queue_ms, usage.preprocess_ms, usage.encode_ms,
                                    usage.prefill_ms, usage.decode_ms};
  for (size_t stage = 0; stage < kStages; ++stage) stats.stages[stage].Observe(stage_ms[stage] / 1e3);
  stats.prompt_text_tokens += static_cast<uint64_t>(usage.text_tokens);
  stats.prompt_image_tokens += static_cast<uint64_t>(usage.image_tokens);
  stats.prompt_cached_tokens += static_cast<uint64_t>(usage.cached_tokens);
  stats.prompt_tokens.Observe(usage.prompt_tokens);
  stats.answer_tokens.Observe(usage.generated_tokens);
}

void CountExperts(const std::vector<int32_t>& choices, const std::vector<bool>& image_row,
                  int32_t layer, EngineStats& stats) {
  if (image_row.empty()) return;
  const size_t per_row = choices.size() / image_row.size();
  const size_t base = static_cast<size_t>(layer) * static_cast<size_t>(stats.experts) * 2;
  for (size_t i = 0; i < choices.size(); ++i) {
    const size_t modality = image_row[i / per_row] ? 1 : 0;
    ++stats.expert_tokens[base + static_cast<size_t>(choices[i]) * 2 + modality];
  }
}

}  // namespace tessera
