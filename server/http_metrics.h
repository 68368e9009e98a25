// The HTTP port's connections and answers, counted. Thread-safe.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

namespace tessera {

// The limit for which a connection was closed, either as soon as it was accepted or in favour of a
// new one.
enum class HttpRefusal : uint8_t { kTotal, kPerAddress, kDescriptors };
constexpr int kHttpRefusals = 3;
std::string_view HttpRefusalName(HttpRefusal refusal);

class HttpMetrics : public prometheus::Collectable {
 public:
  static constexpr std::array<int, 10> kCodes = {200, 400, 404, 405, 408, 413, 414, 431, 503, 505};

  void Opened() { ++open_; }
  void Closed() { --open_; }
  void Refused(HttpRefusal cause) { ++refused_.at(static_cast<size_t>(cause)); }
  // `code` is one of kCodes.
  void Answered(int code);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  std::atomic<int64_t> open_ = 0;
  std::array<std::atomic<uint64_t>, kHttpRefusals> refused_ = {};
  std::array<std::atomic<uint64_t>, kCodes.size()> answered_ = {};
};

}  // namespace tessera
