// Asks the gRPC port over a new connection every other second, as clients do, and tells the slot
// when they get no answer; so readiness is that of the port and not only of what is behind it.
// Tests: tests/server/port_probe_test.cc.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "engine/api/request.h"
#include "server/connection_options.h"
#include "server/engine_slot.h"
#include "server/file_descriptor.h"

namespace tessera {

class PortProbe : public prometheus::Collectable {
 public:
  // `announce` is told each connection's name (PeerAddress::name) before it is opened. The slot
  // must outlive this.
  PortProbe(EngineSlot& slot, ProbeTimes times, std::function<void(std::string)> announce)
      : slot_(slot), times_(times), announce_(std::move(announce)) {}

  // Asks from now on who listens as `listener` does; a wildcard is asked on the loopback interface.
  // Once.
  void Start(const FileDescriptor& listener);
  void Stop() { thread_ = {}; }

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  void Run(const std::stop_token& stop);
  absl::Status Ask(const std::stop_token& stop);
  void Tell(const absl::Status& status);

  EngineSlot& slot_;
  const ProbeTimes times_;
  const std::function<void(std::string)> announce_;
  sockaddr_storage target_{};
  std::atomic<Clock::time_point> answered_ = Clock::now();
  bool failing_ = false;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace tessera
