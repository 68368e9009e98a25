#include "server/metric_set.h"

namespace tessera {

prometheus::ClientMetric& MetricSet::Add(const std::string& name, const std::string& help,
                                         prometheus::MetricType type, Labels labels) {
  if (families_.empty() || families_.back().name != name) {
    families_.push_back({.name = name, .help = help, .type = type, .metric = {}});
  }
  prometheus::ClientMetric& metric = families_.back().metric.emplace_back();
  metric.label = common_;
  for (auto& label : labels) metric.label.push_back(std::move(label));
  return metric;
}

void MetricSet::Counter(const std::string& name, const std::string& help, double value,
                        Labels labels) {
  Add(name, help, prometheus::MetricType::Counter, std::move(labels)).counter.value = value;
}

void MetricSet::Gauge(const std::string& name, const std::string& help, double value,
                      Labels labels) {
  Add(name, help, prometheus::MetricType::Gauge, std::move(labels)).gauge.value = value;
}

void MetricSet::AddHistogram(const std::string& name, const std::string& help,
                             const Histogram& histogram, Labels labels) {
  auto& target = Add(name, help, prometheus::MetricType::Histogram, std::move(labels)).histogram;
  uint64_t cumulative = 0;
  for (size_t i = 0; i < histogram.bounds.size(); ++i) {
    cumulative += histogram.counts[i];
    target.bucket.push_back({.cumulative_count = cumulative, .upper_bound = histogram.bounds[i]});
  }
  target.sample_count = cumulative + histogram.counts.back();
  target.sample_sum = histogram.sum;
}

}  // namespace tessera
