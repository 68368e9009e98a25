// A list of Prometheus metric families that grows line by line; what the collectors of this server
// share.
#pragma once

#include <prometheus/client_metric.h>
#include <prometheus/metric_family.h>

#include <string>
#include <vector>

#include "engine/api/stats.h"

namespace tessera {

class MetricSet {
 public:
  using Labels = std::vector<prometheus::ClientMetric::Label>;

  // Every metric gets the `common` labels before its own.
  explicit MetricSet(Labels common = {}) : common_(std::move(common)) {}

  // Metrics of one name come one after another and share type and help.
  void Counter(const std::string& name, const std::string& help, double value, Labels labels = {});
  void Gauge(const std::string& name, const std::string& help, double value, Labels labels = {});
  void AddHistogram(const std::string& name, const std::string& help, const Histogram& histogram,
                    Labels labels = {});

  std::vector<prometheus::MetricFamily> Take() { return std::move(families_); }

 private:
  prometheus::ClientMetric& Add(const std::string& name, const std::string& help,
                                prometheus::MetricType type, Labels labels);

  Labels common_;
  std::vector<prometheus::MetricFamily> families_;
};

}  // namespace tessera
