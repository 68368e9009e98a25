#include "server/refused_sockets.h"

#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <utility>

namespace tessera {
namespace {

constexpr std::chrono::milliseconds kPatience(500);
constexpr size_t kMaxRefused = 32;
constexpr int kReadsAtOnce = 16;

// Throws away what has arrived. Whether the peer has closed as well.
bool ReadToTheEnd(const FileDescriptor& socket) {
  char bytes[4096];
  for (int i = 0; i < kReadsAtOnce; ++i) {
    const ssize_t read = recv(socket.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
    if (read == 0) return true;
    if (read < 0) return errno != EAGAIN && errno != EINTR;
  }
  return false;
}

}  // namespace

void RefusedSockets::Add(FileDescriptor socket, Clock::time_point now) {
  shutdown(socket.get(), SHUT_WR);
  if (refused_.size() == kMaxRefused) {
    ReadToTheEnd(refused_.front().socket);
    refused_.pop_front();
  }
  refused_.push_back({.socket = std::move(socket), .until = now + kPatience});
}

void RefusedSockets::Sweep(Clock::time_point now) {
  std::erase_if(refused_, [now](const Refused& refused) {
    return ReadToTheEnd(refused.socket) || now >= refused.until;
  });
}

void CloseCleanly(FileDescriptor socket) {
  if (!socket.valid()) return;
  shutdown(socket.get(), SHUT_WR);
  ReadToTheEnd(socket);
}

}  // namespace tessera
