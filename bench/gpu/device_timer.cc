#include <cuda_runtime_api.h>

#include "bench/gpu/timer.h"
#include "cuda/make_cuda_backend.h"
#include "engine/base/check.h"

namespace tessera::bench {
namespace {

constexpr int kWarmUps = 3;

void Check(cudaError_t error, const char* what) {
  TESSERA_CHECK_MSG(error == cudaSuccess, std::string(what) + ": " + cudaGetErrorString(error));
}

class DeviceTimer final : public Timer {
 public:
  DeviceTimer(Backend& backend, bool graph)
      : backend_(backend), stream_(CudaStream(backend)), graph_(graph) {}

  std::string name() const override { return graph_ ? "graph" : "stream"; }

  std::vector<double> Time(const std::function<void()>& work, int samples) override {
    backend_.ResetArena();
    work();  // the arena grows now, not in a capture
    backend_.ResetArena();
    if (!graph_) {
      return Sample([&] { work(); }, samples);
    }
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t replay = nullptr;
    Check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capture");
    work();
    Check(cudaStreamEndCapture(stream_, &graph), "end of capture");
    Check(cudaGraphInstantiate(&replay, graph, 0), "graph");
    const auto seconds =
        Sample([&] { Check(cudaGraphLaunch(replay, stream_), "graph launch"); }, samples);
    Check(cudaGraphExecDestroy(replay), "graph");
    Check(cudaGraphDestroy(graph), "graph");
    backend_.ResetArena();
    return seconds;
  }

 private:
  // Runs follow one another without a pause; a run's time is that between the events around it.
  std::vector<double> Sample(const std::function<void()>& run, int samples) {
    for (int i = 0; i < kWarmUps; ++i) RunOnce(run);
    std::vector<cudaEvent_t> events(2 * samples);
    for (auto& event : events) Check(cudaEventCreate(&event), "event");
    for (int i = 0; i < samples; ++i) {
      Check(cudaEventRecord(events[2 * i], stream_), "event");
      RunOnce(run);
      Check(cudaEventRecord(events[2 * i + 1], stream_), "event");
      if (!graph_) Check(cudaStreamSynchronize(stream_), "run");
    }
    Check(cudaStreamSynchronize(stream_), "runs");
    std::vector<double> seconds;
    for (int i = 0; i < samples; ++i) {
      float milliseconds = 0;
      Check(cudaEventElapsedTime(&milliseconds, events[2 * i], events[2 * i + 1]), "event");
      seconds.push_back(milliseconds * 1e-3);
    }
    for (const auto& event : events) Check(cudaEventDestroy(event), "event");
    return seconds;
  }
  void RunOnce(const std::function<void()>& run) {
    if (!graph_) backend_.ResetArena();
    run();
  }

  Backend& backend_;
  const cudaStream_t stream_;
  const bool graph_;
};

}  // namespace

std::unique_ptr<Timer> MakeDeviceTimer(Backend& backend, bool graph) {
  return std::make_unique<DeviceTimer>(backend, graph);
}

}  // namespace tessera::bench
