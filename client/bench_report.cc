#include "client/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

namespace tessera {
namespace {

// One request's latencies in milliseconds.
struct Latencies {
  double ttft = 0;
  std::optional<double> tpot;
  std::vector<double> itl;
  double e2el = 0;
};

int64_t TokensOf(const Outcome& outcome) {
  return std::accumulate(outcome.chunks.begin(), outcome.chunks.end(), int64_t{0},
                         [](int64_t sum, const TokenChunk& chunk) { return sum + chunk.tokens; });
}

// `outcome` has at least one chunk.
Latencies LatenciesOf(const Outcome& outcome) {
  Latencies latencies;
  latencies.ttft = 1e3 * (outcome.chunks.front().at_s - outcome.start_s);
  latencies.e2el = 1e3 * (outcome.end_s - outcome.start_s);
  for (size_t i = 1; i < outcome.chunks.size(); ++i) {
    latencies.itl.push_back(1e3 * (outcome.chunks[i].at_s - outcome.chunks[i - 1].at_s));
  }
  if (const int64_t tokens = TokensOf(outcome); tokens > 1) {
    latencies.tpot = (latencies.e2el - latencies.ttft) / static_cast<double>(tokens - 1);
  }
  return latencies;
}

bool Meets(const Latencies& latencies, const Objectives& objectives) {
  const auto within = [](double value, const std::optional<double>& limit) {
    return !limit || value <= *limit;
  };
  const double longest_gap =
      latencies.itl.empty() ? 0 : *std::max_element(latencies.itl.begin(), latencies.itl.end());
  return within(latencies.ttft, objectives.ttft) &&
         within(latencies.tpot.value_or(0), objectives.tpot) &&
         within(longest_gap, objectives.itl) && within(latencies.e2el, objectives.e2el);
}

Counts CountsOf(const LoadResult& result) {
  Counts counts;
  counts.started = result.started;
  counts.lost = std::abs(result.started - static_cast<int>(result.outcomes.size()));
  for (const Outcome& outcome : result.outcomes) {
    const std::string status = absl::StatusCodeToString(outcome.code);
    ++counts.statuses[status];
    counts.lost += outcome.final_statuses != 1;
    counts.out_of_order += !outcome.in_order;
    counts.completed += outcome.code == absl::StatusCode::kOk;
    if (outcome.code != absl::StatusCode::kOk) counts.examples.emplace(status, outcome.error);
  }
  return counts;
}

Tokens TokensOf(const LoadResult& result) {
  Tokens tokens;
  std::map<int64_t, int64_t> by_second;
  for (const Outcome& outcome : result.outcomes) {
    tokens.prompt += outcome.usage.prompt_tokens();
    tokens.image += outcome.usage.image_tokens();
    tokens.cached += outcome.usage.cached_tokens();
    tokens.output += TokensOf(outcome);
    for (const TokenChunk& chunk : outcome.chunks) {
      tokens.peak_per_s =
          std::max(tokens.peak_per_s, by_second[static_cast<int64_t>(chunk.at_s)] += chunk.tokens);
    }
  }
  return tokens;
}

void AddDistribution(const std::string& name, const Distribution& distribution, Json* json) {
  (*json)["mean_" + name] = distribution.mean;
  (*json)["std_" + name] = distribution.std;
  (*json)["p50_" + name] = distribution.p50;
  (*json)["p90_" + name] = distribution.p90;
  (*json)["p95_" + name] = distribution.p95;
  (*json)["p99_" + name] = distribution.p99;
  (*json)["max_" + name] = distribution.max;
}

std::string Row(std::string_view name, const Distribution& row) {
  return fmt::format("{:<22}{:>10.2f}{:>10.2f}{:>10.2f}{:>10.2f}{:>10.2f}\n", name, row.mean,
                     row.p50, row.p90, row.p99, row.max);
}

}  // namespace

double Percentile(const std::vector<double>& sorted, double percent) {
  if (sorted.empty()) return 0;
  const double rank = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(rank);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return std::lerp(sorted[low], sorted[high], rank - static_cast<double>(low));
}

Distribution Describe(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {.mean = mean,
          .std = std::sqrt(squares / count),
          .p50 = Percentile(values, 50),
          .p90 = Percentile(values, 90),
          .p95 = Percentile(values, 95),
          .p99 = Percentile(values, 99),
          .max = values.back()};
}

absl::StatusOr<Objectives> ParseObjectives(const std::string& text) {
  Objectives objectives;
  const std::map<std::string, std::optional<double>*> limits = {{"ttft", &objectives.ttft},
                                                                {"tpot", &objectives.tpot},
                                                                {"itl", &objectives.itl},
                                                                {"e2el", &objectives.e2el}};
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(',', start), text.size());
    const std::string item = text.substr(start, end - start);
    const size_t colon = item.find(':');
    const auto limit = limits.find(item.substr(0, colon));
    const std::string number = colon == std::string::npos ? "" : item.substr(colon + 1);
    char* rest = nullptr;
    const double value = std::strtod(number.c_str(), &rest);
    if (limit == limits.end() || number.empty() || *rest != '\0' || !(value > 0)) {
      return absl::InvalidArgumentError(
          fmt::format("\"{}\" is no objective: write NAME:MILLISECONDS with ttft, tpot, itl or "
                      "e2el, such as ttft:500,itl:50",
                      item));
    }
    *limit->second = value;
    start = end + 1;
  }
  return objectives;
}

BenchReport Summarize(const LoadResult& result, const Objectives& objectives) {
  BenchReport report;
  report.duration_s = result.seconds;
  report.most_in_flight = result.most_in_flight;
  report.counts = CountsOf(result);
  report.tokens = TokensOf(result);
  std::vector<double> ttft, tpot, itl, e2el;
  int good = 0;
  for (const Outcome& outcome : result.outcomes) {
    if (outcome.code != absl::StatusCode::kOk || outcome.chunks.empty()) continue;
    const Latencies latencies = LatenciesOf(outcome);
    ttft.push_back(latencies.ttft);
    if (latencies.tpot) tpot.push_back(*latencies.tpot);
    itl.insert(itl.end(), latencies.itl.begin(), latencies.itl.end());
    e2el.push_back(latencies.e2el);
    good += Meets(latencies, objectives);
  }
  report.ttft_ms = Describe(std::move(ttft));
  report.tpot_ms = Describe(std::move(tpot));
  report.itl_ms = Describe(std::move(itl));
  report.e2el_ms = Describe(std::move(e2el));
  if (objectives.any()) report.goodput = report.PerSecond(good);
  return report;
}

Json ReportJson(const BenchReport& report) {
  const Counts& counts = report.counts;
  const Tokens& tokens = report.tokens;
  Json json = {{"duration", report.duration_s},
               {"num_prompts", counts.started},
               {"completed", counts.completed},
               {"failed", counts.started - counts.completed},
               {"lost", counts.lost},
               {"out_of_order", counts.out_of_order},
               {"statuses", counts.statuses},
               {"errors", counts.examples},
               {"total_input_tokens", tokens.prompt},
               {"total_image_tokens", tokens.image},
               {"total_cached_tokens", tokens.cached},
               {"total_output_tokens", tokens.output},
               {"request_throughput", report.PerSecond(counts.completed)},
               {"output_throughput", report.PerSecond(static_cast<double>(tokens.output))},
               {"total_token_throughput",
                report.PerSecond(static_cast<double>(tokens.prompt + tokens.output))},
               {"max_output_tokens_per_s", tokens.peak_per_s},
               {"max_concurrent_requests", report.most_in_flight}};
  if (report.goodput) json["goodput"] = *report.goodput;
  AddDistribution("ttft_ms", report.ttft_ms, &json);
  AddDistribution("tpot_ms", report.tpot_ms, &json);
  AddDistribution("itl_ms", report.itl_ms, &json);
  AddDistribution("e2el_ms", report.e2el_ms, &json);
  return json;
}

std::string ReportTable(const BenchReport& report) {
  const Tokens& tokens = report.tokens;
  std::string text =
      fmt::format("{} requests in {:.2f} s, at most {} in flight:", report.counts.started,
                  report.duration_s, report.most_in_flight);
  for (const auto& [status, count] : report.counts.statuses)
    text += fmt::format(" {} {}", count, status);
  if (report.counts.lost > 0) text += fmt::format(" {} LOST", report.counts.lost);
  if (report.counts.out_of_order > 0)
    text += fmt::format(" {} OUT OF ORDER", report.counts.out_of_order);
  text += '\n';
  for (const auto& [status, message] : report.counts.examples) {
    text += fmt::format("  {}: {}\n", status, TerminalWords(message));
  }
  text += fmt::format("{:<22}{:>10.2f}\n", "requests/s", report.PerSecond(report.counts.completed));
  if (report.goodput)
    text += fmt::format("{:<22}{:>10.2f}\n", "goodput, requests/s", *report.goodput);
  text += fmt::format("{:<22}{:>10.2f}   peak {}\n", "output tokens/s",
                      report.PerSecond(static_cast<double>(tokens.output)), tokens.peak_per_s);
  text +=
      fmt::format("{:<22}{:>10.2f}   {} prompt ({} image, {} cached), {} output\n", "all tokens/s",
                  report.PerSecond(static_cast<double>(tokens.prompt + tokens.output)),
                  tokens.prompt, tokens.image, tokens.cached, tokens.output);
  text += fmt::format("{:<22}{:>10}{:>10}{:>10}{:>10}{:>10}\n", "milliseconds", "mean", "p50",
                      "p90", "p99", "max");
  return text + Row("time to first token", report.ttft_ms) +
         Row("time per output token", report.tpot_ms) + Row("inter-token latency", report.itl_ms) +
         Row("end to end", report.e2el_ms);
}

}  // namespace tessera
