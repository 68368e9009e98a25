// The messages that are being received. gRPC gives a message only when it is whole and tells
// nothing of it before, but its bytes are in memory: what has arrived on a connection since the
// oldest of its calls that still receive began, less the messages delivered since, and a window for
// each, is charged as MemoryUse::kReceiving: an upper bound. Uploads that are too slow, too many or
// hold too much are given up. Thread-safe. Tests: tests/server/uploads_test.cc.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/api/request.h"
#include "engine/base/memory_budget.h"

namespace tessera {

// A call that receives its message.
class Receiver {
 public:
  virtual ~Receiver() = default;
  // It is not received any longer. Once at most, and not while the call is in Begin() or End().
  virtual void GiveUp(const absl::Status& status) = 0;
};

constexpr int64_t kMaxUploadBytes = int64_t{64} << 20;
absl::Status MessageTooLarge(int64_t bytes);

struct UploadLimits {
  size_t max_calls = 1024;
  // An upload has this long, and a second more for each so many bytes that arrive on its connection
  // meanwhile.
  std::chrono::milliseconds grace = std::chrono::seconds(30);
  int64_t bytes_per_second = int64_t{32} << 10;
  std::chrono::milliseconds longest = std::chrono::minutes(10);
  double share = 0.5;  // of the memory budget, for all uploads
  // HTTP/2 lets so much of a message come before its call is known here.
  int64_t window_bytes = 65535;
};

// Bytes that gRPC has read from the connection that it calls `peer`, if there is one.
using BytesRead = std::function<std::optional<int64_t>(std::string_view peer)>;
// The connection that gRPC calls `peer` receives messages from now on, or no longer.
using TellReceiving = std::function<void(std::string_view peer, bool receiving)>;

class Uploads {
 public:
  explicit Uploads(
      BytesRead arrived, const UploadLimits& limits = {},
      TellReceiving tell_receiving = [](std::string_view, bool) {});

  // A call of `peer` waits for its message from now on. `memory` must outlive the upload.
  uint64_t Begin(std::string_view peer, std::weak_ptr<Receiver> receiver, MemoryBudget& memory);
  // Its message of `bytes` bytes has come, or never will (0). False when it was given up.
  bool End(uint64_t id, int64_t bytes);

  int64_t open() const;
  uint64_t given_up() const;

 private:
  struct Upload {
    uint64_t id = 0;
    std::weak_ptr<Receiver> receiver;
    Clock::time_point began;
    int64_t arrived_before = 0;  // on its connection
    int64_t delivered_since = 0;
  };
  // Those of one connection that are charged to the same budget.
  struct Connection {
    std::list<Upload> uploads;  // the oldest first
    int64_t arrived = 0;
    MemoryCharge held;
  };
  using Key = std::pair<std::string, MemoryBudget*>;  // gRPC's name of the connection
  using Connections = std::map<Key, Connection>;
  using Ends = std::vector<std::pair<std::weak_ptr<Receiver>, absl::Status>>;

  void Watch(std::stop_token stop);
  void EraseIfDone(Connections::iterator entry);
  void Measure(const std::string& peer, Connection& connection);
  bool IsTooMuch(const MemoryBudget& memory) const;
  void Charge(Connection& connection);
  void EndSlow(Connection& connection, Clock::time_point now, Ends& ends);
  void EndTooLarge(Connection& connection, Ends& ends);
  void EndLargest(Ends& ends);
  // The next upload.
  std::list<Upload>::iterator GiveUp(Connection& connection, std::list<Upload>::iterator upload,
                                     absl::Status status, Ends& ends);
  static void Tell(const Ends& ends);

  const BytesRead arrived_;
  const UploadLimits limits_;
  const TellReceiving tell_receiving_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  // Guarded by mutex_:
  uint64_t next_id_ = 1;
  uint64_t given_up_ = 0;
  Connections connections_;  // those on which calls receive
  std::map<uint64_t, std::pair<Connections::iterator, std::list<Upload>::iterator>> by_id_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace tessera
