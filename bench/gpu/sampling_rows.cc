// SampleKernelInput tokens from rows of logits: greedy, from the whole vocabulary, and with a
// model's usual filters.
#include <fmt/format.h>

#include "bench/gpu/bench.h"

namespace tessera::bench {
namespace {

struct Sampling {
  const char* name;
  SampleParams sample;
};

constexpr Sampling kSamplings[] = {
    {"greedy", {}},
    {"temperature", {.temperature = 1}},
    {"top-k 20 top-p 0.8", {.temperature = 0.7f, .top_k = 20, .top_p = 0.8f}},
};

// The share of rows whose token is not the one that the definition gives.
double Error(Bench& bench, Tensor logits, const std::vector<float>& host,
             const std::vector<SampleParams>& samples) {
  Backend& backend = bench.backend();
  const auto columns = static_cast<size_t>(logits.cols());
  const auto tokens =
      backend.DownloadInts(backend.SampleTokens(logits, logits.cols(), samples, {}));
  backend.ResetArena();
  double wrong = 0;
  for (size_t row = 0; row < samples.size(); ++row) {
    const std::span of_row(host.data() + row * columns, columns);
    wrong += tokens[row] == SampleToken(of_row, samples[row]) ? 0 : 1;
  }
  return wrong / static_cast<double>(samples.size());
}

}  // namespace

void SamplingRows(Bench& bench) {
  const bool smoke = bench.options().smoke;
  const int64_t columns = smoke ? 300 : 151936;
  const std::vector<int64_t> rows =
      smoke ? std::vector<int64_t>{3} : std::vector<int64_t>{1, 32, 128};
  for (const int64_t count : rows) {
    const auto host = bench.activations().TakeFloats(count * columns, 51);
    const Tensor logits = bench.KeepFloats(host, {count, columns});
    const double values = static_cast<double>(count * columns);
    for (const Sampling& sampling : kSamplings) {
      std::vector<SampleParams> samples(static_cast<size_t>(count), sampling.sample);
      for (size_t i = 0; i < samples.size(); ++i) {
        samples[i].uniform = (static_cast<double>(i) + 0.5) / static_cast<double>(samples.size());
      }
      const Work work = {values * 4, values};  // logits are read once at least
      bench.Add({"sampling",
                 "sample",
                 sampling.name,
                 count,
                 fmt::format("{} tokens", columns),
                 {},
                 work,
                 Error(bench, logits, host, samples),
                 0},
                1, [&](int) { bench.backend().SampleTokens(logits, columns, samples, {}); });
    }
    bench.Drop();
  }
}

}  // namespace tessera::bench
