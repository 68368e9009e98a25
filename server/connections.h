// The open connections of the gRPC port: who they are from, how many there may be, and what has
// arrived on them. gRPC serves each by a descriptor of its own; a second descriptor of the same
// socket is kept here, by which a connection is asked and ended. Thread-safe. Tests:
// tests/server/connections_test.cc, acceptor_test.cc.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>

#include "engine/api/request.h"
#include "server/file_descriptor.h"
#include "server/peer_address.h"

namespace tessera {

struct ConnectionLimits {
  int64_t total = 0;
  int64_t per_network = 0;   // PeerAddress::network
  int64_t header_bytes = 0;  // ConnectionOptions
};

// Why a connection was closed as soon as it was accepted.
enum class RefusalCause { kTotal, kPerAddress, kDescriptors };
inline constexpr int kRefusalCauses = 3;
std::string_view RefusalCauseName(RefusalCause cause);

class Connections {
 public:
  explicit Connections(ConnectionLimits limits) : limits_(limits) {}

  // One that `peer` opens now may not be had. Where a limit is reached, one within it is ended
  // instead, if there is one that has not greeted yet, or has made no call in 5 s: the oldest.
  // A client speaks first, and at once.
  std::optional<RefusalCause> MakeRoom(const PeerAddress& peer, Clock::time_point now);
  // `socket` is a descriptor beside gRPC's. The id of the connection, never used again.
  uint64_t Add(const PeerAddress& peer, FileDescriptor socket, Clock::time_point now);
  // gRPC has closed it. Unknown ids are let pass.
  void Remove(uint64_t id);
  void Clear();

  // For those whom gRPC's `ServerContext::peer()` names: bytes that have arrived since it was opened
  // and that gRPC has read; nullopt when there is no such connection.
  std::optional<int64_t> ReadBytes(std::string_view grpc_peer) const;

  // A call of it receives its message from now on, or no longer. Only meanwhile may much arrive.
  void BeginReceiving(std::string_view grpc_peer);
  void EndReceiving(std::string_view grpc_peer);
  // To be called about once a second: ends those on which more arrives outside calls than
  // `limits.header_bytes`. gRPC 1.51 keeps all headers of a call until the last of them has come.
  void EndOverlongHeaders(Clock::time_point now);

  const ConnectionLimits& limits() const { return limits_; }
  int64_t open() const;
  // Of those ended here, by why: silent ones by MakeRoom(), others by EndOverlongHeaders().
  uint64_t ended_silent() const;
  uint64_t ended_headers() const;

 private:
  struct Connection {
    PeerAddress peer;
    FileDescriptor socket;
    Clock::time_point opened;
    int64_t receiving_calls = 0;
    int64_t forgiven_bytes = 0;  // arrived within calls, or long ago
  };

  bool Displace(const std::string* network, Clock::time_point now);
  static bool IsOf(const std::string* network, const Connection& connection);
  bool End(std::map<uint64_t, Connection>::iterator entry);
  void Erase(std::map<uint64_t, Connection>::iterator entry);
  // The newest of that name; 0, which is nobody's, when there is none.
  uint64_t FindId(std::string_view grpc_peer) const;

  const ConnectionLimits limits_;
  mutable std::mutex mutex_;
  uint64_t next_id_ = 1;
  uint64_t ended_silent_ = 0;
  uint64_t ended_headers_ = 0;
  Clock::time_point headers_checked_;
  std::map<uint64_t, Connection> connections_;  // by age, the oldest first
  std::set<uint64_t> silent_;                   // of them, those not yet known to have greeted
  std::set<uint64_t> callless_;                 // that have, but made no call of ours
  std::unordered_map<std::string, std::set<uint64_t>> by_name_;
  std::unordered_map<std::string, int64_t> per_network_;
};

}  // namespace tessera
