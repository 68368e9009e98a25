// What the engine tells about itself, as Prometheus metrics `tessera_*`, read at each scrape. Every
// label combination is there from the first scrape after the model is loaded, at 0, so that rate()
// and alerts work. Before that there are only the build's. Tests: tests/server/metrics_test.cc,
// with promtool where it is installed.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

#include "engine/engine.h"
#include "server/engine_slot.h"

namespace tessera {

class EngineMetrics : public prometheus::Collectable {
 public:
  explicit EngineMetrics(const EngineSlot& slot) : slot_(slot) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const EngineSlot& slot_;
};

// All families of one engine.
std::vector<prometheus::MetricFamily> EngineFamilies(const ModelInfo& model,
                                                     const EngineStats& stats,
                                                     const MemoryBudget& memory,
                                                     double model_load_seconds);

}  // namespace tessera
