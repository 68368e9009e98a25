#include "engine/step/telemetry.h"

#include <algorithm>

namespace tessera {
namespace {

size_t CountRouted(const std::vector<int>& experts) {
  return static_cast<size_t>(
      std::count_if(experts.begin(), experts.end(), [](int count) { return count > 0; }));
}

size_t MostExperts(const std::vector<int>& experts) {
  return experts.empty() ? 0
                         : static_cast<size_t>(*std::max_element(experts.begin(), experts.end()));
}

}  // namespace

Telemetry::Telemetry(RoutingTelemetry routing, const std::vector<int>& experts)
    : routing_(routing, CountRouted(experts), MostExperts(experts)) {
  Beat();
  if (!counts_routing()) return;
  for (size_t layer = 0; layer < experts.size(); ++layer) {
    if (experts[layer] == 0) continue;
    stats_.moe_layer_index.push_back(static_cast<int32_t>(layer));
    stats_.layer_experts.push_back(experts[layer]);
  }
  const size_t layers = stats_.moe_layer_index.size();
  stats_.layer_tokens.resize(layers * kModalities);
  stats_.busiest_tokens.resize(layers);
  stats_.experts = static_cast<int32_t>(MostExperts(experts));
  if (routing != RoutingTelemetry::kExpert) return;
  stats_.expert_tokens.resize(layers * MostExperts(experts) * kModalities);
}

void Telemetry::CountRouting(const std::vector<std::vector<int32_t>>& choices,
                             const std::vector<bool>& image_row) {
  if (!counts_routing()) return;
  for (size_t layer = 0; layer < choices.size(); ++layer) {
    routing_.Count(layer, choices[layer], image_row);
  }
  Write([&](EngineStats& stats) { routing_.AddTo(stats); });
}

void Telemetry::SetOldest(std::optional<Clock::time_point> waiting,
                          std::optional<Clock::time_point> running) {
  const std::lock_guard lock(mutex_);
  oldest_waiting_ = waiting;
  oldest_running_ = running;
}

EngineStats Telemetry::Read() const {
  const Clock::duration beat(beat_.load(std::memory_order_relaxed));
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.seconds_since_step =
      std::chrono::duration<double>(Clock::now().time_since_epoch() - beat).count();
  const Clock::time_point now = Clock::now();
  if (oldest_waiting_) stats.oldest(Standing::kWaiting) = Seconds(now - *oldest_waiting_);
  if (oldest_running_) stats.oldest(Standing::kRunning) = Seconds(now - *oldest_running_);
  return stats;
}

void RecordFinish(const LiveRequest& request, const Completion& completion, Outcome outcome,
                  Clock::time_point now, EngineStats& stats) {
  const Usage& usage = completion.usage;
  ++stats.outcomes[static_cast<size_t>(outcome)];
  stats.end_to_end.Observe(std::chrono::duration<double>(now - request.request.arrival).count());
  ++stats.ended[static_cast<size_t>(*completion.stage)][static_cast<size_t>(outcome)];
  const double stage_ms[kStages] = {usage.queue_ms, usage.preprocess_ms, usage.encode_ms,
                                    usage.prefill_ms, usage.decode_ms};
  // that it has come to
  const int stages = request.admitted ? kStages : usage.preprocess_ms > 0 ? 2 : 1;
  for (int stage = 0; stage < stages; ++stage) stats.stages[stage].Observe(stage_ms[stage] / 1e3);
  if (!request.admitted) return;
  stats.prompt_text_tokens += static_cast<uint64_t>(usage.text_tokens);
  stats.prompt_image_tokens += static_cast<uint64_t>(usage.image_tokens);
  stats.prompt_cached_tokens += static_cast<uint64_t>(usage.cached_tokens);
  stats.prompt_tokens.Observe(usage.prompt_tokens);
  stats.answer_tokens.Observe(usage.generated_tokens);
}

}  // namespace tessera
