#include "server/health_query.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr std::chrono::milliseconds kStopPoll(50);
constexpr size_t kFrameHeader = 9;
constexpr uint8_t kData = 0;
constexpr uint8_t kHeaders = 1;
constexpr uint8_t kResetStream = 3;
constexpr uint8_t kSettings = 4;
constexpr uint8_t kEndStream = 1;
constexpr uint8_t kEndHeaders = 4;
constexpr uint32_t kStream = 1;

std::string Frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string frame(kFrameHeader, '\0');
  frame[1] = static_cast<char>(payload.size() >> 8);
  frame[2] = static_cast<char>(payload.size());
  frame[3] = static_cast<char>(type);
  frame[4] = static_cast<char>(flags);
  frame[8] = static_cast<char>(stream);
  return frame.append(payload);
}

// A header that stays out of the table, with a name given by `name` (RFC 7541, 6.2.2).
std::string Header(std::string_view name, std::string_view value) {
  return std::string(name) + static_cast<char>(value.size()) + std::string(value);
}

std::string CallBytes() {
  using namespace std::string_view_literals;
  const std::string headers = "\x83\x86"  // :method POST, :scheme http
                              + Header("\x04"sv, "/grpc.health.v1.Health/Check") +
                              Header("\x01"sv, "localhost")               // :authority
                              + Header("\x0f\x10"sv, "application/grpc")  // content-type
                              + Header("\x00\x02te"sv, "trailers");
  constexpr std::string_view kEmptyMessage("\0\0\0\0\0", 5);
  return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(kSettings, 0, 0, "") +
         Frame(kHeaders, kEndHeaders, kStream, headers) +
         Frame(kData, kEndStream, kStream, kEmptyMessage);
}

absl::Status WaitFor(const FileDescriptor& socket, short events, Clock::time_point deadline,
                     const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return absl::DeadlineExceededError("no answer in time");
    pollfd entry{.fd = socket.get(), .events = events, .revents = 0};
    if (poll(&entry, 1, static_cast<int>(std::min(left, kStopPoll).count())) > 0) {
      return absl::OkStatus();
    }
  }
  return absl::CancelledError("stopped");
}

absl::Status Send(const FileDescriptor& socket, std::string_view bytes, Clock::time_point deadline,
                  const std::stop_token& stop) {
  while (!bytes.empty()) {
    RETURN_IF_ERROR(WaitFor(socket, POLLOUT, deadline, stop));
    const ssize_t sent = send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(sent);
    } else if (errno != EAGAIN && errno != EINTR) {
      return absl::UnavailableError(std::strerror(errno));
    }
  }
  return absl::OkStatus();
}

// The next `size` bytes.
absl::StatusOr<std::string> Receive(const FileDescriptor& socket, size_t size,
                                    Clock::time_point deadline, const std::stop_token& stop) {
  std::string bytes(size, '\0');
  size_t have = 0;
  while (have < size) {
    RETURN_IF_ERROR(WaitFor(socket, POLLIN, deadline, stop));
    const ssize_t received = recv(socket.get(), bytes.data() + have, size - have, 0);
    if (received == 0) return absl::UnavailableError("the connection was closed");
    if (received > 0) {
      have += received;
    } else if (errno != EAGAIN && errno != EINTR) {
      return absl::UnavailableError(std::strerror(errno));
    }
  }
  return bytes;
}

}  // namespace

absl::Status QueryHealth(const FileDescriptor& socket, Clock::time_point deadline,
                         const std::stop_token& stop) {
  RETURN_IF_ERROR(Send(socket, CallBytes(), deadline, stop));
  while (true) {
    ASSIGN_OR_RETURN(const std::string header, Receive(socket, kFrameHeader, deadline, stop));
    const auto byte = [&header](size_t i) -> uint32_t { return static_cast<uint8_t>(header[i]); };
    const size_t size = byte(0) << 16 | byte(1) << 8 | byte(2);
    RETURN_IF_ERROR(Receive(socket, size, deadline, stop).status());
    if (byte(8) != kStream) continue;
    if (byte(3) == kHeaders && (byte(4) & kEndStream) != 0) return absl::OkStatus();
    if (byte(3) == kResetStream) return absl::UnavailableError("the call was reset");
  }
}

}  // namespace tessera
