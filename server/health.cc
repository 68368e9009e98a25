#include "server/health.h"

#include <chrono>
#include <utility>

namespace tessera {
namespace {

constexpr std::string_view kService = "tessera.v1.GenerationService";
constexpr std::chrono::milliseconds kInterval(500);

}  // namespace

Health::Health(const EngineSlot& slot)
    : slot_(slot), thread_([this](std::stop_token stop) { Run(stop); }) {}

bool Health::IsKnown(std::string_view service) { return service.empty() || service == kService; }

bool Health::serving() const {
  const std::lock_guard lock(mutex_);
  return serving_;
}

void Health::Watch(std::weak_ptr<HealthWatcher> watcher) {
  const std::lock_guard lock(mutex_);
  if (const auto told = watcher.lock()) told->OnHealth(serving_);
  watchers_.push_back(std::move(watcher));
}

void Health::Update() {
  const std::lock_guard lock(mutex_);
  std::erase_if(watchers_, [](const auto& watcher) { return watcher.expired(); });
  const bool serving = slot_.CheckReadiness().ready;
  if (serving == std::exchange(serving_, serving)) return;
  for (const auto& watcher : watchers_) {
    if (const auto told = watcher.lock()) told->OnHealth(serving);
  }
}

void Health::Run(std::stop_token stop) {
  std::mutex wait_mutex;
  std::unique_lock lock(wait_mutex);
  while (!stop.stop_requested()) {
    Update();
    stopped_.wait_for(lock, stop, kInterval, [] { return false; });
  }
}

}  // namespace tessera
