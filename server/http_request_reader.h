// Bytes of a connection in, HTTP/1.1 requests out, in their order. Holds no more than a head and
// what was read with it. Tests: tests/server/http_server_test.cc.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "server/http_limits.h"

namespace tessera {

struct HttpRequest {
  std::string method;
  std::string path;  // of the target, without its query
  bool keep_alive = false;
  bool has_body = false;  // one is announced; it has not been read
};

// What cannot be read, and nothing after it.
struct HttpFault {
  int code = 400;
  std::string reason;
};

class HttpRequestReader {
 public:
  explicit HttpRequestReader(const HttpLimits& limits) : limits_(limits) {}

  void Add(std::string_view bytes) { buffer_.append(bytes); }
  // No byte of a further request is there.
  bool empty() const { return buffer_.empty(); }
  // nullopt: its head is not all there yet.
  std::optional<std::variant<HttpRequest, HttpFault>> Next();

 private:
  std::optional<HttpFault> CheckRequestLine() const;

  const HttpLimits& limits_;
  std::string buffer_;
  size_t searched_ = 0;  // bytes of the buffer before which no head ends
};

}  // namespace tessera
