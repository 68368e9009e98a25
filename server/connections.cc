#include "server/connections.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

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

// Since the connection was opened, read by gRPC or not; tcp(7).
int64_t ArrivedBytes(const FileDescriptor& socket) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (getsockopt(socket.get(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return static_cast<int64_t>(info.tcpi_bytes_received);
}

}  // namespace

std::string_view RefusalCauseName(RefusalCause cause) {
  constexpr std::array<std::string_view, kRefusalCauses> kNames = {"total", "address",
                                                                   "descriptors"};
  return kNames.at(static_cast<size_t>(cause));
}

std::optional<RefusalCause> Connections::MakeRoom(const PeerAddress& peer, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
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
// call and made none.
bool Connections::Displace(const std::string* network, Clock::time_point now) {
  for (auto id = silent_.begin(); id != silent_.end();) {
    const auto entry = connections_.find(*id);
    if (ArrivedBytes(entry->second.socket) >= kGreetingBytes) {
      callless_.insert(*id);
      id = silent_.erase(id);
      continue;
    }
    if (IsOf(network, entry->second)) return End(entry);
    ++id;
  }
  for (const uint64_t id : callless_) {
    const auto entry = connections_.find(id);
    if (now - entry->second.opened < kTimeToCall) return false;  // nor have those after it
    if (IsOf(network, entry->second)) return End(entry);
  }
  return false;
}

bool Connections::IsOf(const std::string* network, const Connection& connection) {
  return network == nullptr || *network == connection.peer.network;
}

bool Connections::End(std::map<uint64_t, Connection>::iterator entry) {
  shutdown(entry->second.socket.get(), SHUT_RDWR);
  Erase(entry);
  ++ended_silent_;
  return true;
}

uint64_t Connections::Add(const PeerAddress& peer, FileDescriptor socket, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const uint64_t id = next_id_++;
  connections_.emplace(id, Connection{.peer = peer, .socket = std::move(socket), .opened = now});
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

void Connections::Erase(std::map<uint64_t, Connection>::iterator entry) {
  const uint64_t id = entry->first;
  const PeerAddress& peer = entry->second.peer;
  silent_.erase(id);
  callless_.erase(id);
  const auto named = by_name_.find(peer.name);
  named->second.erase(id);
  if (named->second.empty()) by_name_.erase(named);
  const auto network = per_network_.find(peer.network);
  if (--network->second == 0) per_network_.erase(network);
  connections_.erase(entry);
}

void Connections::Clear() {
  const std::lock_guard lock(mutex_);
  connections_.clear();
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

void Connections::BeginReceiving(std::string_view grpc_peer) {
  const std::lock_guard lock(mutex_);
  const auto entry = connections_.find(FindId(grpc_peer));
  if (entry == connections_.end()) return;
  ++entry->second.receiving_calls;
  silent_.erase(entry->first);
  callless_.erase(entry->first);
}

void Connections::EndReceiving(std::string_view grpc_peer) {
  const std::lock_guard lock(mutex_);
  const auto entry = connections_.find(FindId(grpc_peer));
  if (entry == connections_.end() || entry->second.receiving_calls == 0) return;
  Connection& connection = entry->second;
  if (--connection.receiving_calls == 0) {
    connection.forgiven_bytes = ArrivedBytes(connection.socket);
  }
}

void Connections::EndOverlongHeaders(Clock::time_point now) {
  if (limits_.header_bytes == 0) return;
  const std::lock_guard lock(mutex_);
  const std::chrono::duration<double> passed = now - std::exchange(headers_checked_, now);
  const auto forgiven = static_cast<int64_t>(std::min(passed.count(), 1.0) * kHeaderBytesPerSecond);
  for (auto& [id, connection] : connections_) {
    if (connection.receiving_calls > 0) continue;
    const int64_t bytes = ArrivedBytes(connection.socket) - connection.forgiven_bytes;
    if (bytes > limits_.header_bytes) {
      shutdown(connection.socket.get(), SHUT_RDWR);
      connection.forgiven_bytes += bytes;  // once is enough
      ++ended_headers_;
    } else {
      connection.forgiven_bytes += std::min(bytes, forgiven);
    }
  }
}

int64_t Connections::open() const {
  const std::lock_guard lock(mutex_);
  return std::ssize(connections_);
}

uint64_t Connections::ended_silent() const {
  const std::lock_guard lock(mutex_);
  return ended_silent_;
}

uint64_t Connections::ended_headers() const {
  const std::lock_guard lock(mutex_);
  return ended_headers_;
}

}  // namespace tessera
