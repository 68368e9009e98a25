// What the HTTP port's handlers get and give.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace tessera {

struct HttpResponse {
  int code = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::shared_ptr<const std::string> body;  // not null; shared by all who are sent the same
};

// Called once, from any thread; not after the server is gone.
using HttpAnswer = std::function<void(HttpResponse)>;
// On the port's thread, so it must not wait.
using HttpHandler = std::function<void(HttpAnswer)>;

// GET and HEAD of one path.
struct HttpRoute {
  std::string path;
  HttpHandler handler;
};
using HttpRoutes = std::vector<HttpRoute>;

// A line of plain text.
inline HttpResponse TextResponse(int code, const std::string& line) {
  return {.code = code, .body = std::make_shared<const std::string>(line + "\n")};
}

}  // namespace tessera
