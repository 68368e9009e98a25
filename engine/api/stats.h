// What the engine tells about itself: counters since start, gauges of now, histograms with fixed
// bounds. The server turns them into Prometheus metrics; the engine knows no metrics library.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/backend/fallback.h"

namespace tessera {

// Cumulative-on-read histogram: counts[i] observations were <= bounds[i] and > bounds[i-1]; one
// more for the rest.
struct Histogram {
  explicit Histogram(std::span<const double> bounds = {})
      : bounds(bounds.begin(), bounds.end()), counts(bounds.size() + 1) {}
  void Observe(double value);

  std::vector<double> bounds;
  std::vector<uint64_t> counts;
  double sum = 0;
};

enum class Modality : uint8_t { kText, kImage };
constexpr size_t kModalities = 2;
// What is told of the routers' choices: nothing, sums by layer, or also each expert's.
enum class RoutingTelemetry : uint8_t { kOff, kLayer, kExpert };
enum class Stage : uint8_t { kQueue, kPreprocess, kEncode, kPrefill, kDecode };
constexpr int kStages = 5;
// Where a request stands; the label `standing`.
enum class Standing : uint8_t {
  kQueued,     // accepted, nobody has begun to prepare it
  kPreparing,  // tokenized, decoded, or between two turns of that
  kWaiting,    // prepared, without a place in the steps
  kRunning,
};
constexpr int kStandings = 4;
std::string_view StandingName(Standing standing);
// How a request ended; the label `outcome`.
enum class Outcome : uint8_t {
  kStop,
  kLength,
  kCancelled,
  kDeadline,
  kRejected,
  kInvalid,
  kAborted,
  kFailed
};
constexpr int kOutcomes = 8;
std::string_view OutcomeName(Outcome outcome);
std::string_view StageName(Stage stage);

struct EngineStats {
  // Gauges.
  int64_t running = 0;  // sequences that hold KV blocks
  int64_t waiting = 0;  // accepted, not yet running
  int64_t kv_blocks_total = 0;
  int64_t kv_blocks_used = 0;    // held by running sequences
  int64_t kv_blocks_cached = 0;  // free, but with reusable contents
  int64_t image_cache_bytes = 0;
  int64_t inflight_bytes = 0;
  // heartbeat: since the engine thread last finished a loop; it beats when idle, too
  double seconds_since_step = 0;
  bool draining = false;
  // since the oldest request came to stand there; 0: there is none
  std::array<double, kStandings> oldest_seconds = {};
  // of those of preparing that are under way: one text, one image; 0: there is none
  double longest_turn_seconds = 0;

  double& oldest(Standing standing) { return oldest_seconds[static_cast<size_t>(standing)]; }

  // Counters.
  uint64_t prompt_text_tokens = 0;
  uint64_t prompt_image_tokens = 0;
  uint64_t prompt_cached_tokens = 0;
  uint64_t generated_tokens = 0;
  uint64_t prefix_queried_tokens = 0;
  uint64_t prefix_hit_tokens = 0;
  uint64_t preemptions = 0;
  uint64_t images_decoded = 0;  // begun with
  uint64_t images_encoded = 0;
  uint64_t image_cache_hits = 0;
  uint64_t image_cache_misses = 0;
  uint64_t steps = 0;
  double step_seconds_total = 0;
  double backend_seconds_total = 0;  // of them, inside backend operations
  std::array<uint64_t, kOutcomes> outcomes = {};
  // of them, accepted ones, by the stage in which they ended
  std::array<std::array<uint64_t, kOutcomes>, kStages> ended = {};
  Fallbacks kernel_fallbacks = {};
  // Choices of the routers, by routed layer: a token counts once for each expert that it chooses.
  // All are empty when that is off.
  std::vector<int32_t> moe_layer_index;  // [layers] of the layer in the model
  std::vector<int32_t> layer_experts;    // [layers] that it has
  std::vector<uint64_t> layer_tokens;    // [layers][2: text, image], flattened
  // [layers] of each step's busiest expert: even routing makes it layer_tokens / experts
  std::vector<uint64_t> busiest_tokens;
  int32_t experts = 0;  // of the layer that has most
  // [layers][experts][2: text, image], flattened; empty unless each expert is told of
  std::vector<uint64_t> expert_tokens;

  // Histograms.
  Histogram time_to_first_token;
  Histogram inter_token;
  Histogram end_to_end;
  std::array<Histogram, kStages> stages;
  Histogram step_rows;  // rows per step
  Histogram step_seconds;
  Histogram prompt_tokens;
  Histogram answer_tokens;

  EngineStats();
};

}  // namespace tessera
