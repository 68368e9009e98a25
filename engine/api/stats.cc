#include "engine/api/stats.h"

#include <algorithm>

namespace tessera {
namespace {

// Bounds in use across serving projects (vLLM's and OpenTelemetry's agree), with finer steps below
// for small models.
constexpr double kTimeToFirstToken[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                        1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
constexpr double kInterToken[] = {.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3,
                                  .4,   .5,    .75,  1,   2.5,  5,   7.5,  10, 20,  40, 80};
constexpr double kDuration[] = {.005, .01, .025, .05, .1, .2, .3, .5, .8,  1,   1.5, 2,   2.5,
                                5,    10,  15,   20,  30, 40, 50, 60, 120, 240, 480, 960, 1920};
constexpr double kRows[] = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
constexpr double kTokens[] = {1,   2,    5,    10,   20,    50,    100,   200,
                              500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};

}  // namespace

void Histogram::Observe(double value) {
  const auto bound = std::lower_bound(bounds.begin(), bounds.end(), value);
  ++counts[static_cast<size_t>(bound - bounds.begin())];
  sum += value;
}

std::string_view OutcomeName(Outcome outcome) {
  constexpr std::array<std::string_view, kOutcomes> kNames = {
      "stop", "length", "cancelled", "deadline", "rejected", "invalid", "aborted", "failed"};
  return kNames.at(static_cast<size_t>(outcome));
}

std::string_view StageName(Stage stage) {
  constexpr std::array<std::string_view, kStages> kNames = {"queue", "preprocess", "encode",
                                                            "prefill", "decode"};
  return kNames.at(static_cast<size_t>(stage));
}

std::string_view StandingName(Standing standing) {
  constexpr std::array<std::string_view, kStandings> kNames = {"queued", "preparing", "waiting",
                                                               "running"};
  return kNames.at(static_cast<size_t>(standing));
}

EngineStats::EngineStats()
    : time_to_first_token(kTimeToFirstToken),
      inter_token(kInterToken),
      end_to_end(kDuration),
      step_rows(kRows),
      step_seconds(kInterToken),
      prompt_tokens(kTokens),
      answer_tokens(kTokens) {
  for (Histogram& stage : stages) stage = Histogram(kDuration);
}

}  // namespace tessera
