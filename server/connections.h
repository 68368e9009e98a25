// The open connections of the gRPC port: who they are from, how many there may be, and what has
// arrived on them. gRPC serves each by a descriptor of its own; a second descriptor of the same
// socket is kept here, by which a connection is asked and ended. What gRPC holds for calls and for
// bytes outside their messages is charged here, too. Thread-safe. Tests:
// tests/server/connections_test.cc, acceptor_test.cc.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/api/request.h"
#include "engine/base/memory_budget.h"
#include "server/file_descriptor.h"
#include "server/peer_address.h"

namespace tessera {

struct ConnectionLimits {
  int64_t total = 0;
  int64_t per_network = 0;   // PeerAddress::network
  int64_t header_bytes = 0;  // ConnectionOptions
  // Calls of a connection beyond those that may be open at once, and all of one that is gone, are
  // such as a client has reset and gRPC is not done with: so many in all.
  int64_t reset_calls = 1024;
  int64_t held_calls = 1024;  // CallKind::kHeld, of all
};

enum class CallKind : uint8_t {
  kWork,
  kHeld,  // stays open for as long as its client likes
};

// That may be open at once on one connection, and bytes that may come of one that does not read.
constexpr int kMaxStreamsPerConnection = 256;
constexpr int kStreamWindowBytes = 65535;

// Why a connection was closed as soon as it was accepted.
enum class RefusalCause { kTotal, kPerAddress, kDescriptors, kResets };
inline constexpr int kRefusalCauses = 4;
std::string_view RefusalCauseName(RefusalCause cause);

// Why an open one was ended here.
enum class EndCause { kSilent, kIdle, kHeaders, kResets, kHeld };
inline constexpr int kEndCauses = 5;
std::string_view EndCauseName(EndCause cause);

class Connections {
 public:
  explicit Connections(ConnectionLimits limits) : limits_(limits) {}

  // One that `peer` opens now may not be had. Where a limit is reached, one within it is ended
  // instead, if there is one that has not greeted yet, or has made no call in 5 s: the oldest; a
  // client speaks first, and at once. Else one that has had no call for 30 s: of the network that
  // holds the most places, the one that has waited longest. From a network of which one was ended
  // for its resets none may be had for 2 s.
  std::optional<RefusalCause> MakeRoom(const PeerAddress& peer, Clock::time_point now);
  // `socket` is a descriptor beside gRPC's own, which is `grpc_socket`. The id of the connection,
  // never used again.
  uint64_t Add(const PeerAddress& peer, FileDescriptor socket, int grpc_socket,
               Clock::time_point now);
  // It has ended. What it holds is charged until gRPC has closed its descriptor: it may be busy
  // with what has arrived for seconds. Unknown ids are let pass.
  void Remove(uint64_t id);
  void Clear();

  // For those whom gRPC's `ServerContext::peer()` names: bytes that have arrived since it was
  // opened and that gRPC has read; nullopt when there is no such connection.
  std::optional<int64_t> ReadBytes(std::string_view grpc_peer) const;

  // A call of it is there, its headers complete, until EndCall() with the id that this returns.
  // Where too many are held, the connection with the most of them is ended.
  uint64_t BeginCall(std::string_view grpc_peer, Clock::time_point now,
                     CallKind kind = CallKind::kWork);
  void EndCall(uint64_t id, Clock::time_point now, CallKind kind = CallKind::kWork);

  // A call of it receives its message from now on, or no longer. Only meanwhile may much arrive.
  void BeginReceiving(std::string_view grpc_peer);
  void EndReceiving(std::string_view grpc_peer);
  // To be called many times a second: ends those on which more arrives outside calls than
  // `limits.header_bytes`, beside a window for each call that is there or ended lately, and those
  // with the most of it while all together have an eighth of the memory for requests. gRPC 1.51
  // keeps all headers of a call until the last of them has come. Whether so much comes that the
  // next look should be soon.
  bool EndOverlongHeaders(Clock::time_point now);
  // What is held is charged to it from now on, as MemoryUse::kTransport. It must outlive Clear().
  void SetMemory(MemoryBudget& memory);

  const ConnectionLimits& limits() const { return limits_; }
  int64_t open() const;
  uint64_t ended(EndCause cause) const;

 private:
  struct Connection {
    PeerAddress peer;
    FileDescriptor socket;
    int grpc_socket = -1;
    Clock::time_point opened;
    Clock::time_point last_call;
    int64_t calls = 0;
    int64_t held_calls = 0;  // of those
    int64_t receiving_calls = 0;
    int64_t forgiven_bytes = 0;  // arrived within calls, or long ago
    int64_t retained_bytes = 0;  // of those: may still be in the windows of its calls
    int64_t late_bytes = 0;      // that may still come of calls that ended a moment ago
    int64_t outside_before = 0;  // the first of the receiving calls: outside bytes
    int64_t outside_bytes = 0;   // when it was last looked at
    bool ended = false;
  };
  using Map = std::map<uint64_t, Connection>;
  struct Leaving {
    FileDescriptor socket;
    int grpc_socket = -1;
    int64_t bytes = 0;
  };

  bool Displace(const std::string* network, Clock::time_point now);
  bool DisplaceIdle(const std::string* network, Clock::time_point now);
  static bool IsOf(const std::string* network, const Connection& connection);
  static int64_t ResetCalls(const Connection& connection);
  static int64_t OutsideBytes(const Connection& connection);
  static void Forgive(Connection& connection, int64_t outside, int64_t calls);
  void EndMostResetCalls(Clock::time_point now);
  void EndMostHeldCalls();
  void EndMostOutside(int64_t bytes);
  void End(Connection& connection, EndCause cause);
  void Erase(Map::iterator entry);
  // The newest of that name; 0, which is nobody's, when there is none.
  uint64_t FindId(std::string_view grpc_peer) const;

  const ConnectionLimits limits_;
  mutable std::mutex mutex_;
  uint64_t next_id_ = 1;
  std::array<uint64_t, kEndCauses> ended_ = {};
  Clock::time_point headers_checked_;
  int64_t calls_ = 0;        // of all, those whose connection is gone included
  int64_t reset_calls_ = 0;  // ConnectionLimits
  int64_t held_calls_ = 0;   // of all, those whose connection is gone included
  MemoryBudget* memory_ = nullptr;
  MemoryCharge held_;
  std::vector<Leaving> leaving_;  // ended, and not yet closed by gRPC
  Map connections_;               // by age, the oldest first
  std::set<uint64_t> silent_;     // of them, those not yet known to have greeted
  std::set<uint64_t> callless_;   // that have, but made no call of ours
  std::unordered_map<std::string, std::set<uint64_t>> by_name_;
  std::unordered_map<std::string, int64_t> per_network_;
  std::unordered_map<std::string, Clock::time_point> refused_until_;  // by network
};

}  // namespace tessera
