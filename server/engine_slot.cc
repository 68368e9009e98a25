#include "server/engine_slot.h"

#include <fmt/format.h>

#include <utility>

#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr double kStalledSeconds = 10;
// Of one turn of preparing. The header of an image bounds it to 3 s of an idle core
// (ImageLimits::max_work); this is for slow and busy ones.
constexpr double kStuckSeconds = 60;

}  // namespace

void EngineSlot::SetProgress(int64_t done_bytes, int64_t total_bytes) {
  done_bytes_ = done_bytes;
  total_bytes_ = total_bytes;
}

void EngineSlot::Publish(Engine* engine, double load_seconds) {
  load_seconds_ = load_seconds;
  engine_ = engine;
}

void EngineSlot::SetPortFault(std::string fault) {
  const std::lock_guard lock(mutex_);
  port_fault_ = std::move(fault);
}

std::string EngineSlot::LoadingText() const {
  return fmt::format("the model is loading: {} of {} MiB read", done_bytes_ >> 20,
                     total_bytes_ >> 20);
}

absl::StatusOr<Engine*> EngineSlot::Get() const {
  if (draining_) {
    return RequestError(absl::StatusCode::kUnavailable, ErrorReason::kDraining, "",
                        "the server is about to stop; try another one");
  }
  if (Engine* engine = engine_) return engine;
  return RequestError(absl::StatusCode::kUnavailable, ErrorReason::kModelLoading, "",
                      LoadingText());
}

Readiness EngineSlot::CheckReadiness() const {
  if (draining_) return {.ready = false, .reason = "draining"};
  const Engine* engine = engine_;
  if (engine == nullptr) return {.ready = false, .reason = LoadingText()};
  const EngineStats stats = engine->Stats();
  const double seconds = stats.seconds_since_step;
  if (seconds > kStalledSeconds) {
    return {.ready = false,
            .reason = fmt::format("the engine has not finished a step for {:.1f} s", seconds)};
  }
  if (stats.longest_turn_seconds > kStuckSeconds) {
    return {.ready = false,
            .reason = fmt::format("preparing one text or image has taken {:.1f} s",
                                  stats.longest_turn_seconds)};
  }
  const std::lock_guard lock(mutex_);
  if (!port_fault_.empty()) {
    return {.ready = false, .reason = "the gRPC port does not answer: " + port_fault_};
  }
  return {.ready = true, .reason = "ready"};
}

}  // namespace tessera
