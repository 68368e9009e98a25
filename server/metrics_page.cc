#include "server/metrics_page.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace tessera {
namespace {

using std::chrono::steady_clock;

constexpr double kShare = 0.05;  // of a core
constexpr std::chrono::duration<double> kMaxBudget(0.5);

HttpResponse Page(std::shared_ptr<const std::string> text) {
  return {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = std::move(text)};
}

}  // namespace

MetricsPage::MetricsPage(std::vector<const prometheus::Collectable*> collectors)
    : collectors_(std::move(collectors)),
      budget_(kMaxBudget),
      budget_time_(steady_clock::now()),
      thread_([this] { Run(); }) {}

MetricsPage::~MetricsPage() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void MetricsPage::Get(HttpAnswer answer) {
  std::shared_ptr<const std::string> text;
  {
    const std::lock_guard lock(mutex_);
    if (text_ == nullptr || MayRender()) {
      waiting_.push_back(std::move(answer));
      changed_.notify_one();
      return;
    }
    text = text_;
  }
  answer(Page(std::move(text)));
}

bool MetricsPage::MayRender() {
  const steady_clock::time_point now = steady_clock::now();
  budget_ =
      std::min<std::chrono::duration<double>>(kMaxBudget, budget_ + kShare * (now - budget_time_));
  budget_time_ = now;
  return budget_.count() > 0;
}

void MetricsPage::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    const std::vector<HttpAnswer> served = std::exchange(waiting_, {});
    lock.unlock();
    const steady_clock::time_point start = steady_clock::now();
    const auto text = std::make_shared<const std::string>(Render());
    for (const HttpAnswer& answer : served) answer(Page(text));
    lock.lock();
    text_ = text;
    budget_ -= steady_clock::now() - start;
  }
}

std::string MetricsPage::Render() const {
  std::vector<prometheus::MetricFamily> families;
  for (const prometheus::Collectable* collector : collectors_) {
    std::ranges::move(collector->Collect(), std::back_inserter(families));
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace tessera
