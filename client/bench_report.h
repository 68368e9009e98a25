// Figures of a load run, defined as vLLM's serving benchmark defines them (docs.vllm.ai, "vllm
// bench serve"), over the requests that ended well:
//   TTFT   from sending to the first event with tokens
//   ITL    between one event with tokens and the next
//   TPOT   (E2EL - TTFT) / (tokens - 1), of answers with more than one token
//   E2EL   from sending to the end
//   goodput: requests per second that met every objective
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/bench_run.h"
#include "client/json.h"

namespace tessera {

// Linear between the closest ranks, as numpy.percentile. `percent` in [0, 100]; 0 for no values.
double Percentile(const std::vector<double>& sorted, double percent);

struct Distribution {
  double mean = 0;
  // Of the population.
  double std = 0;
  double p50 = 0;
  double p90 = 0;
  double p95 = 0;
  double p99 = 0;
  double max = 0;
};

Distribution Describe(std::vector<double> values);

// Milliseconds that a request must not exceed; `itl` is its longest gap.
struct Objectives {
  std::optional<double> ttft = {};
  std::optional<double> tpot = {};
  std::optional<double> itl = {};
  std::optional<double> e2el = {};

  bool any() const { return ttft || tpot || itl || e2el; }
};

// "ttft:500,itl:50". INVALID_ARGUMENT for what is not so.
absl::StatusOr<Objectives> ParseObjectives(const std::string& text);

// Requests by what became of them.
struct Counts {
  int started = 0;
  int completed = 0;
  // Without exactly one final status, and with one but with events that the API does not allow.
  int lost = 0;
  int out_of_order = 0;
  // "OK", "CANCELLED", …
  std::map<std::string, int> statuses;
  // One message for each status that is not OK.
  std::map<std::string, std::string> examples;
};

struct Tokens {
  int64_t prompt = 0;
  int64_t image = 0;
  int64_t cached = 0;
  // Also those of requests that did not end well.
  int64_t output = 0;
  // Most output tokens in one second of the run.
  int64_t peak_per_s = 0;
};

struct BenchReport {
  double duration_s = 0;
  int most_in_flight = 0;
  Counts counts;
  Tokens tokens;
  Distribution ttft_ms;
  Distribution tpot_ms;
  Distribution itl_ms;
  Distribution e2el_ms;
  // Requests per second that met the objectives; empty when there are none.
  std::optional<double> goodput;

  double PerSecond(double count) const { return duration_s > 0 ? count / duration_s : 0; }
};

BenchReport Summarize(const LoadResult& result, const Objectives& objectives);

// With vLLM's keys, such as "mean_ttft_ms", "p99_itl_ms", "output_throughput".
Json ReportJson(const BenchReport& report);

// For people.
std::string ReportTable(const BenchReport& report);

}  // namespace tessera
