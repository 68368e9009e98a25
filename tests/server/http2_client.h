// A client of HTTP/2 that can do what gRPC's own never does: begin a message and not end it, send
// frames of any size, say nothing. Blocking, one thread (RFC 9113; headers as literals, RFC 7541).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace tessera::testing {

class Http2Client {
 public:
  // `address`: "127.0.0.1:50051". `answer_window`: bytes that the server may send of an answer.
  explicit Http2Client(const std::string& address, uint32_t answer_window = 65535);
  ~Http2Client();
  Http2Client(const Http2Client&) = delete;
  Http2Client& operator=(const Http2Client&) = delete;

  bool connected() const { return socket_ >= 0 && !closed_; }
  // Begins a call; the stream's number. `path`: "/package.Service/Method".
  uint32_t Call(const std::string& path);
  // Sends as many of these bytes as windows allow within `time`; how many.
  size_t Send(uint32_t stream, std::string_view bytes, std::chrono::milliseconds time);
  // Five bytes that begin a message of `size` bytes.
  static std::string MessageHead(uint32_t size);
  // Takes what the server sends until `stream` has ended, by its trailers or a reset.
  bool WaitForEnd(uint32_t stream, std::chrono::milliseconds time);
  bool ended(uint32_t stream) const { return ended_.contains(stream); }

 private:
  void WriteFrame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload);
  void WriteAll(std::string_view bytes);
  // Reads frames for at most `time`; false when none came.
  bool Read(std::chrono::milliseconds time);
  void Take(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload);
  void TakeSettings(const std::string& payload);

  int socket_ = -1;
  bool closed_ = false;
  uint32_t next_stream_ = 1;
  std::string input_;
  int64_t initial_window_ = 65535;
  int64_t window_ = 65535;
  std::map<uint32_t, int64_t> windows_;
  std::set<uint32_t> ended_;
};

}  // namespace tessera::testing
