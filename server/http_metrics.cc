#include "server/http_metrics.h"

#include <algorithm>
#include <string>

#include "engine/base/check.h"
#include "server/metric_set.h"

namespace tessera {

std::string_view HttpRefusalName(HttpRefusal refusal) {
  constexpr std::array<std::string_view, kHttpRefusals> kNames = {"total", "address",
                                                                  "descriptors"};
  return kNames.at(static_cast<size_t>(refusal));
}

void HttpMetrics::Answered(int code) {
  const auto* const found = std::ranges::find(kCodes, code);
  TESSERA_CHECK(found != kCodes.end());
  ++answered_.at(static_cast<size_t>(found - kCodes.begin()));
}

std::vector<prometheus::MetricFamily> HttpMetrics::Collect() const {
  MetricSet set;
  set.Gauge("tessera_http_connections_open", "Connections to the HTTP port.",
            static_cast<double>(open_));
  for (int i = 0; i < kHttpRefusals; ++i) {
    set.Counter("tessera_http_connections_refused_total",
                "Connections to the HTTP port closed for a limit, either at once or in favour of "
                "new ones, by the limit.",
                static_cast<double>(refused_.at(i)),
                {{"cause", std::string(HttpRefusalName(static_cast<HttpRefusal>(i)))}});
  }
  for (size_t i = 0; i < kCodes.size(); ++i) {
    set.Counter("tessera_http_requests_total", "Answers of the HTTP port, by status code.",
                static_cast<double>(answered_.at(i)), {{"code", std::to_string(kCodes.at(i))}});
  }
  return set.Take();
}

}  // namespace tessera
