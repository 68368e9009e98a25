#include "server/uploads.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr std::chrono::milliseconds kLookEvery(50);
// What else arrives on a connection meanwhile: frames' heads and headers of other calls.
constexpr int64_t kFramingBytes = int64_t{1} << 20;

absl::Status TooSlow(Clock::duration time, int64_t bytes) {
  return RequestError(absl::StatusCode::kResourceExhausted, ErrorReason::kUploadTooSlow, "",
                      fmt::format("the message is not whole after {:.0f} s, in which {} bytes "
                                  "arrived on its connection; send it faster",
                                  Seconds(time), bytes));
}

absl::Status TooMuch() {
  return RequestError(absl::StatusCode::kResourceExhausted, ErrorReason::kQueueFull, "",
                      "messages that are not whole yet hold too much memory, and most of it those "
                      "of this connection; try again later");
}

absl::Status TooMany(size_t calls) {
  return RequestError(
      absl::StatusCode::kResourceExhausted, ErrorReason::kQueueFull, "",
      fmt::format("{} messages are being received, and this connection's are the most and have "
                  "waited the longest; try again later",
                  calls));
}

}  // namespace

Uploads::Uploads(BytesRead arrived, const UploadLimits& limits, TellReceiving tell_receiving)
    : arrived_(std::move(arrived)),
      limits_(limits),
      tell_receiving_(std::move(tell_receiving)),
      thread_([this](std::stop_token stop) { Watch(std::move(stop)); }) {}

uint64_t Uploads::Begin(std::string_view peer, std::weak_ptr<Receiver> receiver,
                        MemoryBudget& memory) {
  Ends ends;
  uint64_t id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (by_id_.size() >= limits_.max_calls) {
      const auto most =
          std::ranges::max_element(connections_, std::less<>(),
                                   [](const auto& entry) { return entry.second.uploads.size(); });
      GiveUp(most->second, most->second.uploads.begin(), TooMany(by_id_.size()), ends);
      EraseIfDone(most);
    }
    const auto [found, is_new] = connections_.try_emplace({std::string(peer), &memory});
    Connection& connection = found->second;
    if (is_new) {
      tell_receiving_(peer, true);
      connection.held = memory.Open(MemoryUse::kReceiving);
    }
    Measure(found->first.first, connection);
    id = next_id_++;
    connection.uploads.push_back({.id = id,
                                  .receiver = std::move(receiver),
                                  .began = Clock::now(),
                                  .arrived_before = connection.arrived});
    Charge(connection);
    by_id_.emplace(id, std::make_pair(found, std::prev(connection.uploads.end())));
  }
  changed_.notify_one();
  Tell(ends);
  return id;
}

bool Uploads::End(uint64_t id, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return false;
  const auto [entry, upload] = found->second;
  Connection& connection = entry->second;
  for (auto older = connection.uploads.begin(); older != upload; ++older) {
    older->delivered_since += bytes;
  }
  connection.uploads.erase(upload);
  by_id_.erase(found);
  Charge(connection);
  EraseIfDone(entry);
  return true;
}

int64_t Uploads::open() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(by_id_.size());
}

uint64_t Uploads::given_up() const {
  const std::lock_guard lock(mutex_);
  return given_up_;
}

void Uploads::Watch(std::stop_token stop) {
  while (!stop.stop_requested()) {
    Ends ends;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [this] { return !by_id_.empty(); })) return;
      const Clock::time_point now = Clock::now();
      for (auto entry = connections_.begin(); entry != connections_.end();) {
        const auto next = std::next(entry);
        Connection& connection = entry->second;
        Measure(entry->first.first, connection);
        EndTooLarge(connection, ends);
        EndSlow(connection, now, ends);
        Charge(connection);
        EraseIfDone(entry);
        entry = next;
      }
      EndLargest(ends);
    }
    Tell(ends);
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, stop, kLookEvery, [] { return false; });
  }
}

void Uploads::EraseIfDone(Connections::iterator entry) {
  if (!entry->second.uploads.empty()) return;
  tell_receiving_(entry->first.first, false);
  connections_.erase(entry);
}

void Uploads::Measure(const std::string& peer, Connection& connection) {
  if (const auto arrived = arrived_(peer)) connection.arrived = *arrived;
}

void Uploads::Charge(Connection& connection) {
  if (connection.uploads.empty()) return connection.held.Release();
  const Upload& oldest = connection.uploads.front();
  const int64_t since = connection.arrived - oldest.arrived_before - oldest.delivered_since;
  connection.held.ForceResize(std::max(int64_t{0}, since) +
                              std::ssize(connection.uploads) * limits_.window_bytes);
}

void Uploads::EndSlow(Connection& connection, Clock::time_point now, Ends& ends) {
  for (auto upload = connection.uploads.begin(); upload != connection.uploads.end();) {
    const int64_t arrived = connection.arrived - upload->arrived_before;
    const auto earned = std::chrono::seconds(arrived / limits_.bytes_per_second);
    const Clock::duration time = now - upload->began;
    const bool slow = time > std::min<Clock::duration>(limits_.grace + earned, limits_.longest);
    upload = slow ? GiveUp(connection, upload, TooSlow(time, arrived), ends) : std::next(upload);
  }
}

// Where one call alone receives, all that arrives is its message.
void Uploads::EndTooLarge(Connection& connection, Ends& ends) {
  if (connection.uploads.size() != 1) return;
  const Upload& upload = connection.uploads.front();
  const int64_t arrived = connection.arrived - upload.arrived_before;
  if (arrived - upload.delivered_since <= kMaxUploadBytes + kFramingBytes) return;
  GiveUp(connection, connection.uploads.begin(), MessageTooLarge(arrived), ends);
}

bool Uploads::IsTooMuch(const MemoryBudget& memory) const {
  const auto share = static_cast<int64_t>(static_cast<double>(memory.max_bytes()) * limits_.share);
  return memory.bytes(MemoryUse::kReceiving) > share || memory.bytes() > memory.max_bytes();
}

void Uploads::EndLargest(Ends& ends) {
  const auto blamed = [this](const auto& entry) {
    return IsTooMuch(*entry.first.second) ? entry.second.held.bytes() : 0;
  };
  while (!connections_.empty()) {
    const auto largest = std::ranges::max_element(connections_, std::less<>(), blamed);
    if (blamed(*largest) == 0) return;
    Connection& connection = largest->second;
    GiveUp(connection, connection.uploads.begin(), TooMuch(), ends);
    Charge(connection);
    EraseIfDone(largest);
  }
}

std::list<Uploads::Upload>::iterator Uploads::GiveUp(Connection& connection,
                                                     std::list<Upload>::iterator upload,
                                                     absl::Status status, Ends& ends) {
  by_id_.erase(upload->id);
  ends.emplace_back(std::move(upload->receiver), std::move(status));
  ++given_up_;
  return connection.uploads.erase(upload);
}

void Uploads::Tell(const Ends& ends) {
  for (const auto& [receiver, status] : ends) {
    if (const auto call = receiver.lock()) call->GiveUp(status);
  }
}

absl::Status MessageTooLarge(int64_t bytes) {
  return WithErrorMetadata(
      RequestError(
          absl::StatusCode::kResourceExhausted, ErrorReason::kMessageTooLarge, "",
          fmt::format("the message has {} bytes or more; at most 64 MiB are taken", bytes)),
      "bytes", std::to_string(bytes));
}

}  // namespace tessera
