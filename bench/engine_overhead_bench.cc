// How much of a step is spent outside backend operations: 16 sequences decoding on the
// demonstration model.
//   build/release/bin/engine_overhead_bench MODEL_DIR VISION_TOWER_DIR [rounds]
#include <fmt/format.h>

#include <condition_variable>
#include <mutex>

#include "engine/cpu/make_cpu_backend.h"
#include "engine/engine.h"

namespace tessera {
namespace {

// Counts requests that are over.
class FinishCounter final : public OutputSink {
 public:
  void OnAdmitted(const PromptInfo&) override {}
  void OnChunk(Chunk) override {}
  void OnFinish(const Completion& completion) override {
    const std::lock_guard lock(mutex_);
    if (!completion.status.ok()) fmt::print(stderr, "{}\n", completion.status.ToString());
    ++finished_;
    changed_.notify_all();
  }
  void WaitFor(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return finished_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int finished_ = 0;
};

int Run(const ModelOptions& model, int rounds) {
  constexpr int kSequences = 16;
  constexpr int kTokens = 256;
  auto backend = MakeCpuBackend({});
  if (!backend.ok()) return fmt::print(stderr, "{}\n", backend.status().ToString()), 1;
  auto engine = StartEngine(*std::move(backend), model, {});
  if (!engine.ok()) return fmt::print(stderr, "{}\n", engine.status().ToString()), 1;
  fmt::print("{:>6} {:>8} {:>12} {:>14} {:>9}\n", "round", "steps", "step ms", "backend ms",
             "overhead");
  for (int round = 0; round < rounds; ++round) {
    const EngineStats before = (*engine)->Stats();
    auto counter = std::make_shared<FinishCounter>();
    for (int i = 0; i < kSequences; ++i) {
      Request request;
      Message message;
      message.parts.emplace_back(fmt::format("How many shapes are there? {} {}", round, i));
      request.input = std::vector<Message>{message};
      request.sampling.temperature = 0;
      request.sampling.max_tokens = kTokens;
      request.sampling.ignore_eos = true;
      if (const auto ticket = (*engine)->Submit(std::move(request), counter); !ticket.ok()) {
        return fmt::print(stderr, "{}\n", ticket.status().ToString()), 1;
      }
    }
    counter->WaitFor(kSequences);
    const EngineStats after = (*engine)->Stats();
    const double steps = static_cast<double>(after.steps - before.steps);
    const double step = after.step_seconds_total - before.step_seconds_total;
    const double inside = after.backend_seconds_total - before.backend_seconds_total;
    fmt::print("{:>6} {:>8} {:>12.3f} {:>14.3f} {:>8.1f}%\n", round, steps, step / steps * 1e3,
               inside / steps * 1e3, (1 - inside / step) * 100);
  }
  return 0;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: engine_overhead_bench MODEL_DIR VISION_TOWER_DIR [rounds]\n");
    return 2;
  }
  tessera::ModelOptions model;
  model.model_dir = argv[1];
  model.vision_tower_dir = argv[2];
  return tessera::Run(model, argc > 3 ? std::atoi(argv[3]) : 5);
}
