#include "server/health.h"

#include <chrono>

namespace tessera {
namespace {

constexpr char kService[] = "tessera.v1.GenerationService";
constexpr std::chrono::milliseconds kInterval(500);

}  // namespace

Health::Health(const EngineSlot& slot, grpc::HealthCheckServiceInterface& service)
    : slot_(slot), service_(service) {
  Update();
  thread_ = std::jthread([this](std::stop_token stop) { Watch(stop); });
}

void Health::Update() {
  const std::lock_guard lock(mutex_);
  const bool ready = slot_.CheckReadiness().ready;
  service_.SetServingStatus("", ready);
  service_.SetServingStatus(kService, ready);
}

void Health::Watch(std::stop_token stop) {
  std::mutex wait_mutex;
  std::unique_lock lock(wait_mutex);
  while (!stop.stop_requested()) {
    stopped_.wait_for(lock, stop, kInterval, [] { return false; });
    Update();
  }
}

}  // namespace tessera
