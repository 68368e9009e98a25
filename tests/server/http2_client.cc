#include "tests/server/http2_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

namespace tessera::testing {
namespace {

constexpr uint8_t kData = 0;
constexpr uint8_t kHeaders = 1;
constexpr uint8_t kReset = 3;
constexpr uint8_t kSettings = 4;
constexpr uint32_t kInitialWindowSize = 4;  // a setting
constexpr uint8_t kPing = 6;
constexpr uint8_t kWindowUpdate = 8;
constexpr uint8_t kAck = 1;
constexpr uint8_t kEndStream = 1;
constexpr uint8_t kEndHeaders = 4;
constexpr size_t kHeadBytes = 9;
constexpr size_t kFrameBytes = 16384;

std::string BigEndian(uint32_t value, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    text += static_cast<char>(value >> shift);
  }
  return text;
}

uint32_t Number(std::string_view bytes) {
  uint32_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

// A literal without indexing; names and values under 127 bytes.
std::string Header(std::string_view name, std::string_view value) {
  std::string text(1, '\0');
  text += static_cast<char>(name.size());
  text += name;
  text += static_cast<char>(value.size());
  return text.append(value);
}

}  // namespace

Http2Client::Http2Client(const std::string& address, uint32_t answer_window) {
  const size_t colon = address.rfind(':');
  sockaddr_in target{};
  target.sin_family = AF_INET;
  target.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &target.sin_addr);
  socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(socket_, reinterpret_cast<const sockaddr*>(&target), sizeof(target)) != 0) {
    closed_ = true;
    return;
  }
  WriteAll("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  WriteFrame(kSettings, 0, 0, BigEndian(kInitialWindowSize, 2) + BigEndian(answer_window, 4));
}

Http2Client::~Http2Client() { close(socket_); }

uint32_t Http2Client::Call(const std::string& path) {
  const uint32_t stream = next_stream_;
  next_stream_ += 2;
  windows_[stream] = initial_window_;
  WriteFrame(kHeaders, kEndHeaders, stream,
             Header(":method", "POST") + Header(":scheme", "http") + Header(":path", path) +
                 Header(":authority", "test") + Header("te", "trailers") +
                 Header("content-type", "application/grpc"));
  return stream;
}

std::string Http2Client::MessageHead(uint32_t size) {
  return std::string(1, '\0') + BigEndian(size, 4);
}

size_t Http2Client::Send(uint32_t stream, std::string_view bytes, std::chrono::milliseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  size_t sent = 0;
  while (connected() && !ended(stream) && sent < bytes.size()) {
    const auto room =
        static_cast<size_t>(std::max<int64_t>(0, std::min(window_, windows_[stream])));
    const size_t piece = std::min({bytes.size() - sent, kFrameBytes, room});
    if (piece > 0) {
      WriteFrame(kData, 0, stream, bytes.substr(sent, piece));
      window_ -= static_cast<int64_t>(piece);
      windows_[stream] -= static_cast<int64_t>(piece);
      sent += piece;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    if (piece == 0 && left.count() <= 0) break;
    Read(piece > 0 ? std::chrono::milliseconds(0) : left);
  }
  return sent;
}

bool Http2Client::WaitForEnd(uint32_t stream, std::chrono::milliseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  while (connected() && !ended(stream)) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    if (left.count() <= 0) break;
    Read(left);
  }
  return ended(stream) || !connected();
}

void Http2Client::WriteFrame(uint8_t type, uint8_t flags, uint32_t stream,
                             std::string_view payload) {
  std::string frame = BigEndian(static_cast<uint32_t>(payload.size()), 3);
  frame += static_cast<char>(type);
  frame += static_cast<char>(flags);
  frame += BigEndian(stream, 4);
  WriteAll(frame.append(payload));
}

void Http2Client::WriteAll(std::string_view bytes) {
  while (!bytes.empty() && !closed_) {
    const ssize_t written = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (written <= 0) {
      closed_ = true;
    } else {
      bytes.remove_prefix(static_cast<size_t>(written));
    }
  }
}

bool Http2Client::Read(std::chrono::milliseconds time) {
  pollfd ready{.fd = socket_, .events = POLLIN, .revents = 0};
  if (poll(&ready, 1, static_cast<int>(time.count())) <= 0) return false;
  char buffer[65536];
  const ssize_t received = recv(socket_, buffer, sizeof(buffer), 0);
  if (received <= 0) {
    closed_ = true;
    return false;
  }
  input_.append(buffer, static_cast<size_t>(received));
  size_t at = 0;
  while (input_.size() - at >= kHeadBytes) {
    const std::string_view head(input_.data() + at, kHeadBytes);
    const uint32_t size = Number(head.substr(0, 3));
    if (input_.size() - at - kHeadBytes < size) break;
    Take(static_cast<uint8_t>(head[3]), static_cast<uint8_t>(head[4]), Number(head.substr(5, 4)),
         input_.substr(at + kHeadBytes, size));
    at += kHeadBytes + size;
  }
  input_.erase(0, at);
  return true;
}

void Http2Client::Take(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload) {
  if (type == kSettings && (flags & kAck) == 0) TakeSettings(payload);
  if (type == kPing && (flags & kAck) == 0) WriteFrame(kPing, kAck, 0, payload);
  if (type == kReset) ended_.insert(stream);
  if ((type == kHeaders || type == kData) && (flags & kEndStream) != 0) ended_.insert(stream);
  if (type == kWindowUpdate) (stream == 0 ? window_ : windows_[stream]) += Number(payload);
}

void Http2Client::TakeSettings(const std::string& payload) {
  for (size_t i = 0; i + 6 <= payload.size(); i += 6) {
    const std::string_view setting(payload.data() + i, 6);
    if (Number(setting.substr(0, 2)) != kInitialWindowSize) continue;
    const int64_t size = Number(setting.substr(2));
    for (auto& [stream, window] : windows_) window += size - initial_window_;
    initial_window_ = size;
  }
  WriteFrame(kSettings, kAck, 0, "");
}

}  // namespace tessera::testing
