// The conventional `process_*` metrics, from /proc (proc(5)); those that cannot be read are left
// out. And the process's own about its age and its log.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

namespace tessera {

class ProcessMetrics : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace tessera
