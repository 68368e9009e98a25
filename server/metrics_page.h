// The text of /metrics, made by a thread of its own, one at a time for all who wait. It is made
// anew for each scrape until making it has taken its share of a core; from then on, and only then,
// scrapes get the last text until there is time again. So polling costs little however long the
// text is. Thread-safe. Tests: tests/server/http_server_test.cc.
#pragma once

#include <prometheus/collectable.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/http_message.h"

namespace tessera {

class MetricsPage {
 public:
  // The collectors must outlive the page.
  explicit MetricsPage(std::vector<const prometheus::Collectable*> collectors);
  ~MetricsPage();

  void Get(HttpAnswer answer);

 private:
  void Run();
  std::string Render() const;
  bool MayRender();

  const std::vector<const prometheus::Collectable*> collectors_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  std::vector<HttpAnswer> waiting_;
  std::shared_ptr<const std::string> text_;  // null before the first
  std::chrono::duration<double> budget_;     // for making texts
  std::chrono::steady_clock::time_point budget_time_;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace tessera
