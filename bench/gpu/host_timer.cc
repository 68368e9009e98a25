#include <chrono>

#include "bench/gpu/timer.h"

namespace tessera::bench {
namespace {

class HostTimer final : public Timer {
 public:
  explicit HostTimer(Backend& backend) : backend_(backend) {}

  std::string name() const override { return "host"; }

  std::vector<double> Time(const std::function<void()>& work, int samples) override {
    std::vector<double> seconds;
    for (int i = -1; i < samples; ++i) {
      backend_.ResetArena();
      const auto start = std::chrono::steady_clock::now();
      work();
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      if (i >= 0) seconds.push_back(took.count());
    }
    backend_.ResetArena();
    return seconds;
  }

 private:
  Backend& backend_;
};

}  // namespace

std::unique_ptr<Timer> MakeHostTimer(Backend& backend) {
  return std::make_unique<HostTimer>(backend);
}

}  // namespace tessera::bench
