// An HTTP client that sends the bytes it is told to, well formed or not.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <utility>

#include "server/listen_address.h"

namespace tessera::testing {

class RawClient {
 public:
  explicit RawClient(const std::string& server, const char* source = "127.0.0.1")
      : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    const timeval patience{.tv_sec = 10, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    sockaddr_in own{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {}, .sin_zero = {}};
    inet_pton(AF_INET, source, &own.sin_addr);
    bind(fd_, reinterpret_cast<sockaddr*>(&own), sizeof(own));
    address_.sin_family = AF_INET;
    address_.sin_port = htons(static_cast<uint16_t>(ParseListenAddress(server)->port));
    inet_pton(AF_INET, "127.0.0.1", &address_.sin_addr);
  }
  RawClient(RawClient&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), address_(other.address_) {}
  ~RawClient() {
    if (fd_ >= 0) close(fd_);
  }

  RawClient& Connect() {
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address_), sizeof(address_)), 0);
    return *this;
  }

  // So that a server that writes much must wait for this client. Before Connect().
  RawClient& TakeLittle() {
    const int bytes = 4096;
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    return *this;
  }

  // False once the server has closed.
  bool Send(const std::string& bytes) const {
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t n = send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return false;
      sent += static_cast<size_t>(n);
    }
    return true;
  }

  // Until the server closes.
  std::string ReadAll() const {
    return ReadUntil([](const std::string&) { return false; });
  }

  // One answer with its body, as long as Content-Length says.
  std::string ReadAnswer(bool has_body = true) {
    std::string bytes =
        ReadUntil([&](const std::string& got) { return AnswerSize(got, has_body); });
    const size_t size = AnswerSize(bytes, has_body);
    rest_ = bytes.substr(size);
    return bytes.substr(0, size);
  }

 private:
  // 0: not there yet.
  static size_t AnswerSize(const std::string& got, bool has_body) {
    const size_t head = got.find("\r\n\r\n");
    if (head == std::string::npos) return 0;
    const size_t length = got.find("Content-Length: ");
    const size_t body = has_body ? std::stoul(got.substr(length + 16)) : 0;
    return got.size() < head + 4 + body ? 0 : head + 4 + body;
  }

  std::string ReadUntil(const std::function<bool(const std::string&)>& done) const {
    std::string got = rest_;
    char chunk[65536];
    while (!done(got)) {
      const ssize_t n = recv(fd_, chunk, sizeof(chunk), 0);
      if (n <= 0) break;
      got.append(chunk, static_cast<size_t>(n));
    }
    return got;
  }

  int fd_;
  sockaddr_in address_{};
  std::string rest_;
};

}  // namespace tessera::testing
