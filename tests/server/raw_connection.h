// A TCP connection to a server's port, byte by byte: for clients that gRPC's own would never be.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "server/listen_address.h"

namespace tessera::testing {

enum class Ending { kOpen, kClosed, kReset };

// Whether it comes true within the time.
template <typename Predicate>
bool Eventually(const Predicate& predicate,
                std::chrono::seconds patience = std::chrono::seconds(10)) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!predicate()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

class RawConnection {
 public:
  // From `source`, an address of this machine ("" for any). Blocks for as long as connecting takes.
  explicit RawConnection(const std::string& address, const std::string& source = "") {
    const ListenAddress target = *ParseListenAddress(address);
    const bool v6 = target.host.find(':') != std::string::npos;
    fd_ = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!source.empty()) {
      sockaddr_in from{};
      from.sin_family = AF_INET;
      inet_pton(AF_INET, source.c_str(), &from.sin_addr);
      bind(fd_, reinterpret_cast<sockaddr*>(&from), sizeof(from));
    }
    sockaddr_in6 to6{};
    to6.sin6_family = AF_INET6;
    to6.sin6_port = htons(target.port);
    sockaddr_in to4{};
    to4.sin_family = AF_INET;
    to4.sin_port = htons(target.port);
    inet_pton(v6 ? AF_INET6 : AF_INET, target.host.c_str(),
              v6 ? static_cast<void*>(&to6.sin6_addr) : &to4.sin_addr);
    connected_ = (v6 ? connect(fd_, reinterpret_cast<sockaddr*>(&to6), sizeof(to6))
                     : connect(fd_, reinterpret_cast<sockaddr*>(&to4), sizeof(to4))) == 0;
  }
  RawConnection(RawConnection&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), connected_(other.connected_) {}
  ~RawConnection() { Close(); }

  bool connected() const { return connected_; }
  void Close() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }
  bool Send(const std::string& bytes) {
    return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }
  // However often it takes; false when the server does not want it all.
  bool SendAll(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(sent);
    }
    return true;
  }
  // HTTP/2's greeting: the preface and an empty SETTINGS frame.
  bool Greet() {
    using namespace std::string_literals;
    return Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"s);
  }
  // True when anything came.
  bool Receive(std::chrono::milliseconds patience = std::chrono::seconds(10)) {
    char byte = 0;
    return Wait(patience) && recv(fd_, &byte, 1, 0) == 1;
  }
  // The next frame of HTTP/2 with its nine bytes of header; less when it does not come.
  std::string ReceiveFrame() {
    std::string frame = ReceiveBytes(9);
    if (frame.size() < 9) return frame;
    const auto byte = [&frame](size_t i) -> size_t { return static_cast<uint8_t>(frame[i]); };
    return frame + ReceiveBytes(byte(0) << 16 | byte(1) << 8 | byte(2));
  }
  // How the server ended it, after whatever it sent.
  Ending WaitForEnd(std::chrono::milliseconds patience = std::chrono::seconds(10)) {
    const auto until = std::chrono::steady_clock::now() + patience;
    char bytes[4096];
    while (true) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          until - std::chrono::steady_clock::now());
      if (left.count() <= 0 || !Wait(left)) return Ending::kOpen;
      const ssize_t received = recv(fd_, bytes, sizeof(bytes), 0);
      if (received == 0) return Ending::kClosed;
      if (received < 0) return Ending::kReset;
    }
  }
  // As gRPC names this end to the server.
  std::string PeerName() const {
    sockaddr_storage own{};
    socklen_t size = sizeof(own);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&own), &size);
    const auto port = std::to_string(ntohs(reinterpret_cast<sockaddr_in&>(own).sin_port));
    return own.ss_family == AF_INET6 ? "ipv6:%5B::1%5D:" + port : "ipv4:127.0.0.1:" + port;
  }

 private:
  bool Wait(std::chrono::milliseconds patience) {
    pollfd entry{.fd = fd_, .events = POLLIN, .revents = 0};
    return poll(&entry, 1, static_cast<int>(patience.count())) == 1;
  }

  std::string ReceiveBytes(size_t size) {
    std::string bytes(size, '\0');
    size_t have = 0;
    while (have < size && Wait(std::chrono::seconds(10))) {
      const ssize_t received = recv(fd_, bytes.data() + have, size - have, 0);
      if (received <= 0) break;
      have += received;
    }
    bytes.resize(have);
    return bytes;
  }

  int fd_ = -1;
  bool connected_ = false;
};

}  // namespace tessera::testing
