#include "server/connections.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>
#include <utility>

namespace tessera {
namespace {

constexpr std::chrono::seconds kTimeToCall(5);
// HTTP/2's connection preface and an empty SETTINGS frame (RFC 9113, 3.4).
constexpr int64_t kGreetingBytes = 24 + 9;
// Of headers, pings and windows, in the long run: 40 calls without a message a second.
constexpr double kHeaderBytesPerSecond = 4096;
// A client sends on until it is told that its call has ended.
constexpr int64_t kMaxLateBytes = int64_t{kMaxStreamsPerConnection} * kStreamWindowBytes;
constexpr double kLateBytesPerSecond = 1 << 20;
constexpr std::chrono::seconds kIdleTime(30);
constexpr std::chrono::seconds kResetPause(2);
// For a call beside its message, most of it gRPC's own: measured with 150,000 of them.
constexpr int64_t kCallBytes = 20 << 10;
constexpr int64_t kOutsideShare = 8;  // of the memory for requests, one part of so many
constexpr int64_t kMuchAtOnce = 64 << 10;
constexpr int64_t kMinOutside = 4096;  // what every connection has now and then

// Since the connection was opened, read by gRPC or not; tcp(7).
int64_t ArrivedBytes(const FileDescriptor& socket) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (getsockopt(socket.get(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return static_cast<int64_t>(info.tcpi_bytes_received);
}

// Whether both are the same socket, and not one that got the number of a closed one.
bool IsSameSocket(int a, int b) {
  struct stat of_a {};
  struct stat of_b {};
  return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 && of_a.st_ino == of_b.st_ino;
}

}  // namespace

std::string_view RefusalCauseName(RefusalCause cause) {
  constexpr std::array<std::string_view, kRefusalCauses> kNames = {"total", "address",
                                                                   "descriptors", "resets"};
  return kNames.at(static_cast<size_t>(cause));
}

std::string_view EndCauseName(EndCause cause) {
  constexpr std::array<std::string_view, kEndCauses> kNames = {"silent", "idle", "headers",
                                                               "resets", "held"};
  return kNames.at(static_cast<size_t>(cause));
}

std::optional<RefusalCause> Connections::MakeRoom(const PeerAddress& peer, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  std::erase_if(refused_until_, [now](const auto& entry) { return entry.second <= now; });
  if (refused_until_.contains(peer.network)) return RefusalCause::kResets;
  const auto network = per_network_.find(peer.network);
  if (network != per_network_.end() && network->second >= limits_.per_network) {
    if (!Displace(&peer.network, now)) return RefusalCause::kPerAddress;
  }
  if (std::ssize(connections_) >= limits_.total && !Displace(nullptr, now)) {
    return RefusalCause::kTotal;
  }
  return std::nullopt;
}

// Ends one of `network`, or of all: the oldest silent one, else the oldest that has had time for a
// call and made none, else an idle one.
bool Connections::Displace(const std::string* network, Clock::time_point now) {
  const auto displace = [this](Map::iterator entry, EndCause cause) {
    End(entry->second, cause);
    Erase(entry);
    return true;
  };
  for (auto id = silent_.begin(); id != silent_.end();) {
    const auto entry = connections_.find(*id);
    if (ArrivedBytes(entry->second.socket) >= kGreetingBytes) {
      callless_.insert(*id);
      id = silent_.erase(id);
      continue;
    }
    if (IsOf(network, entry->second)) return displace(entry, EndCause::kSilent);
    ++id;
  }
  for (const uint64_t id : callless_) {
    const auto entry = connections_.find(id);
    if (now - entry->second.opened < kTimeToCall) break;  // nor have those after it
    if (IsOf(network, entry->second)) return displace(entry, EndCause::kSilent);
  }
  return DisplaceIdle(network, now);
}

bool Connections::DisplaceIdle(const std::string* network, Clock::time_point now) {
  auto best = connections_.end();
  int64_t most = 0;
  for (auto entry = connections_.begin(); entry != connections_.end(); ++entry) {
    const Connection& connection = entry->second;
    const bool idle = connection.calls == 0 && connection.last_call != Clock::time_point() &&
                      now - connection.last_call >= kIdleTime;
    if (!idle || !IsOf(network, connection)) continue;
    const int64_t places = per_network_.at(connection.peer.network);
    if (places > most || (places == most && connection.last_call < best->second.last_call)) {
      best = entry;
      most = places;
    }
  }
  if (best == connections_.end()) return false;
  End(best->second, EndCause::kIdle);
  Erase(best);
  return true;
}

bool Connections::IsOf(const std::string* network, const Connection& connection) {
  return network == nullptr || *network == connection.peer.network;
}

void Connections::End(Connection& connection, EndCause cause) {
  shutdown(connection.socket.get(), SHUT_RDWR);
  connection.ended = true;
  ++ended_.at(static_cast<size_t>(cause));
  spdlog::debug("ended a connection: cause={} peer={} calls={} bytes_outside_messages={}",
                EndCauseName(cause), connection.peer.name, connection.calls,
                connection.outside_bytes);
}

uint64_t Connections::Add(const PeerAddress& peer, FileDescriptor socket, int grpc_socket,
                          Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const uint64_t id = next_id_++;
  Connection& connection = connections_[id];
  connection.peer = peer;
  connection.socket = std::move(socket);
  connection.grpc_socket = grpc_socket;
  connection.opened = now;
  silent_.insert(id);
  by_name_[peer.name].insert(id);
  ++per_network_[peer.network];
  return id;
}

void Connections::Remove(uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto entry = connections_.find(id);
  if (entry != connections_.end()) Erase(entry);
}

void Connections::Erase(Map::iterator entry) {
  const uint64_t id = entry->first;
  const PeerAddress& peer = entry->second.peer;
  reset_calls_ += entry->second.calls - ResetCalls(entry->second);
  silent_.erase(id);
  callless_.erase(id);
  const auto named = by_name_.find(peer.name);
  named->second.erase(id);
  if (named->second.empty()) by_name_.erase(named);
  const auto network = per_network_.find(peer.network);
  if (--network->second == 0) per_network_.erase(network);
  Connection& connection = entry->second;
  // Not for the many that come and say little: each keeps a descriptor.
  if (connection.outside_bytes > kMinOutside &&
      IsSameSocket(connection.socket.get(), connection.grpc_socket)) {
    leaving_.push_back({.socket = std::move(connection.socket),
                        .grpc_socket = connection.grpc_socket,
                        .bytes = connection.outside_bytes});
  }
  connections_.erase(entry);
}

void Connections::Clear() {
  const std::lock_guard lock(mutex_);
  held_ = {};
  memory_ = nullptr;
  reset_calls_ = calls_;
  connections_.clear();
  leaving_.clear();
  silent_.clear();
  callless_.clear();
  by_name_.clear();
  per_network_.clear();
}

uint64_t Connections::FindId(std::string_view grpc_peer) const {
  const auto named = by_name_.find(PeerName(grpc_peer));
  return named == by_name_.end() ? 0 : *named->second.rbegin();
}

std::optional<int64_t> Connections::ReadBytes(std::string_view grpc_peer) const {
  const std::lock_guard lock(mutex_);
  const auto entry = connections_.find(FindId(grpc_peer));
  if (entry == connections_.end()) return std::nullopt;
  // In this order: what arrives in between is not taken for read.
  const int64_t arrived = ArrivedBytes(entry->second.socket);
  int unread = 0;
  if (ioctl(entry->second.socket.get(), FIONREAD, &unread) != 0) unread = 0;
  return std::max<int64_t>(0, arrived - unread);
}

int64_t Connections::ResetCalls(const Connection& connection) {
  return std::max<int64_t>(0, connection.calls - kMaxStreamsPerConnection);
}

int64_t Connections::OutsideBytes(const Connection& connection) {
  return ArrivedBytes(connection.socket) - connection.forgiven_bytes + connection.retained_bytes;
}

// Of what has arrived so far, no more is held than of `outside` bytes the windows of `calls`.
void Connections::Forgive(Connection& connection, int64_t outside, int64_t calls) {
  connection.forgiven_bytes = ArrivedBytes(connection.socket);
  connection.retained_bytes = std::min(outside, calls * kStreamWindowBytes);
}

uint64_t Connections::BeginCall(std::string_view grpc_peer, Clock::time_point now, CallKind kind) {
  const std::lock_guard lock(mutex_);
  ++calls_;
  held_calls_ += kind == CallKind::kHeld;
  const auto entry = connections_.find(FindId(grpc_peer));
  if (entry == connections_.end()) {
    ++reset_calls_;
    return 0;
  }
  Connection& connection = entry->second;
  connection.last_call = now;
  if (connection.receiving_calls == 0) {
    Forgive(connection, OutsideBytes(connection), connection.calls);
  }
  ++connection.calls;
  connection.held_calls += kind == CallKind::kHeld;
  if (ResetCalls(connection) > 0 && ++reset_calls_ > limits_.reset_calls) EndMostResetCalls(now);
  if (held_calls_ > limits_.held_calls) EndMostHeldCalls();
  return entry->first;
}

void Connections::EndCall(uint64_t id, Clock::time_point now, CallKind kind) {
  const std::lock_guard lock(mutex_);
  --calls_;
  held_calls_ -= kind == CallKind::kHeld;
  const auto entry = connections_.find(id);
  if (entry == connections_.end()) {
    --reset_calls_;
    return;
  }
  Connection& connection = entry->second;
  if (ResetCalls(connection) > 0) --reset_calls_;
  --connection.calls;
  connection.held_calls -= kind == CallKind::kHeld;
  connection.last_call = now;
  connection.late_bytes += kStreamWindowBytes;
  const int64_t windows = connection.calls * kStreamWindowBytes;
  connection.retained_bytes = std::min(connection.retained_bytes, windows);
  connection.outside_before = std::min(connection.outside_before, windows);
}

// It goes when gRPC has closed it, and its calls count until then.
void Connections::EndMostResetCalls(Clock::time_point now) {
  Connection* most = nullptr;
  for (auto& [id, connection] : connections_) {
    if (!connection.ended && (most == nullptr || connection.calls > most->calls)) {
      most = &connection;
    }
  }
  if (most == nullptr || ResetCalls(*most) == 0) return;
  refused_until_[most->peer.network] = now + kResetPause;
  End(*most, EndCause::kResets);
}

// Those of ended connections are about to go.
void Connections::EndMostHeldCalls() {
  Connection* most = nullptr;
  int64_t held = 0;
  for (auto& [id, connection] : connections_) {
    if (connection.ended) continue;
    held += connection.held_calls;
    if (most == nullptr || connection.held_calls > most->held_calls) most = &connection;
  }
  if (held > limits_.held_calls) End(*most, EndCause::kHeld);
}

void Connections::BeginReceiving(std::string_view grpc_peer) {
  const std::lock_guard lock(mutex_);
  const auto entry = connections_.find(FindId(grpc_peer));
  if (entry == connections_.end()) return;
  Connection& connection = entry->second;
  if (connection.receiving_calls++ == 0) {
    connection.outside_before = OutsideBytes(connection);
  }
  silent_.erase(entry->first);
  callless_.erase(entry->first);
}

void Connections::EndReceiving(std::string_view grpc_peer) {
  const std::lock_guard lock(mutex_);
  const auto entry = connections_.find(FindId(grpc_peer));
  if (entry == connections_.end() || entry->second.receiving_calls == 0) return;
  Connection& connection = entry->second;
  if (--connection.receiving_calls == 0) {
    Forgive(connection, connection.outside_before, std::max<int64_t>(0, connection.calls - 1));
  }
}

bool Connections::EndOverlongHeaders(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const std::chrono::duration<double> passed = now - std::exchange(headers_checked_, now);
  const auto forgiven = static_cast<int64_t>(std::min(passed.count(), 1.0) * kHeaderBytesPerSecond);
  const auto late = static_cast<int64_t>(std::min(passed.count(), 1.0) * kLateBytesPerSecond);
  std::erase_if(leaving_, [](const Leaving& connection) {
    return !IsSameSocket(connection.socket.get(), connection.grpc_socket);
  });
  int64_t outside = 0;
  for (const Leaving& connection : leaving_) outside += connection.bytes;
  bool much = false;
  for (auto& [id, connection] : connections_) {
    const int64_t before = connection.outside_bytes;
    if (connection.receiving_calls > 0) {
      connection.outside_bytes = connection.outside_before;
    } else {
      connection.outside_bytes = OutsideBytes(connection);
      const int64_t retained = std::min(connection.retained_bytes, forgiven);
      connection.retained_bytes -= retained;
      connection.forgiven_bytes += std::min(connection.outside_bytes, forgiven) - retained;
    }
    much = much || connection.outside_bytes - before >= kMuchAtOnce;
    connection.late_bytes = std::min(connection.late_bytes, kMaxLateBytes) - late;
    connection.late_bytes = std::max<int64_t>(0, connection.late_bytes);
    const int64_t windows = connection.calls * kStreamWindowBytes + connection.late_bytes;
    if (limits_.header_bytes > 0 && !connection.ended &&
        connection.outside_bytes - windows > limits_.header_bytes) {
      End(connection, EndCause::kHeaders);
    }
    if (connection.outside_bytes > kMinOutside) outside += connection.outside_bytes;
  }
  if (memory_ != nullptr) {
    held_.ForceResize(outside + calls_ * kCallBytes);
    EndMostOutside(outside);
  }
  return much;
}

// Those with the most, until what is left of `bytes` is within its share.
void Connections::EndMostOutside(int64_t bytes) {
  for (const Leaving& connection : leaving_) bytes -= connection.bytes;
  for (const auto& [id, connection] : connections_) {
    if (connection.ended) bytes -= connection.outside_bytes;
  }
  while (bytes > memory_->max_bytes() / kOutsideShare) {
    Connection* most = nullptr;
    for (auto& [id, connection] : connections_) {
      if (!connection.ended &&
          (most == nullptr || connection.outside_bytes > most->outside_bytes)) {
        most = &connection;
      }
    }
    if (most == nullptr) return;
    bytes -= most->outside_bytes;
    End(*most, EndCause::kHeaders);
  }
}

void Connections::SetMemory(MemoryBudget& memory) {
  const std::lock_guard lock(mutex_);
  memory_ = &memory;
  held_ = memory.Open(MemoryUse::kTransport);
}

int64_t Connections::open() const {
  const std::lock_guard lock(mutex_);
  return std::ssize(connections_);
}

uint64_t Connections::ended(EndCause cause) const {
  const std::lock_guard lock(mutex_);
  return ended_.at(static_cast<size_t>(cause));
}

}  // namespace tessera
