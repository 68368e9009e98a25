// What the load generator asks: a seeded, endless series of requests. The same options and seed
// give the same series.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tessera/v1/generation.pb.h"

namespace tessera {

struct WorkloadOptions {
  // Model and sampling of every request.
  v1::GenerateRequest base;
  // The question of every request; when empty, `prompt_words` random words, other ones each time.
  std::string prompt;
  int prompt_words = 64;
  // One of these goes with this share of the requests.
  std::vector<v1::Image> images;
  double image_share = 1;
  // Shares of requests that are cancelled at a random event, or get a random deadline up to
  // `longest_deadline`.
  double cancel_share = 0;
  double deadline_share = 0;
  absl::Duration longest_deadline = absl::Seconds(2);
  uint64_t seed = 0;
};

struct PlannedRequest {
  v1::GenerateRequest request;
  // Cancel once so many events have come; 0: at once after sending.
  std::optional<int> cancel_after_events;
  std::optional<absl::Duration> deadline;
  // Exponentially distributed with mean 1: the gap before this request, in units of the mean gap.
  // Makes arrivals a Poisson process.
  double gap = 0;
};

class Workload {
 public:
  explicit Workload(WorkloadOptions options)
      : options_(std::move(options)), random_(options_.seed) {}

  PlannedRequest Next();

 private:
  std::string Words();
  // Uniform in [0, 1).
  double Share();

  WorkloadOptions options_;
  std::mt19937_64 random_;
};

}  // namespace tessera
