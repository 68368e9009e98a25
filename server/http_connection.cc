#include "server/http_connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/status.hpp>
#include <utility>
#include <variant>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tessera {
namespace {

namespace asio = boost::asio;
using std::chrono::steady_clock;

std::string FormatHead(const HttpResponse& response, bool keep_alive, std::string_view header) {
  const auto reason =
      boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(response.code));
  return fmt::format(
      "HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}Connection: "
      "{}\r\n\r\n",
      response.code, std::string_view(reason.data(), reason.size()),
      absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::Now(), absl::UTCTimeZone()),
      response.content_type, response.body->size(), header, keep_alive ? "keep-alive" : "close");
}

}  // namespace

HttpConnection::HttpConnection(asio::ip::tcp::socket socket, const HttpService& service,
                               std::function<void(const HttpConnection&)> on_closed)
    : socket_(std::move(socket)),
      timer_(socket_.get_executor()),
      service_(service),
      on_closed_(std::move(on_closed)),
      reader_(service.limits),
      stage_start_(steady_clock::now()) {}

void HttpConnection::Start() {
  ErrorCode ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  Enter(Stage::kFirstByte);
  Read();
}

void HttpConnection::Close() {
  if (stage_ == Stage::kClosed) return;
  stage_ = Stage::kClosed;
  timer_.cancel();
  ErrorCode ignored;
  socket_.close(ignored);
  on_closed_(*this);
}

void HttpConnection::Enter(Stage stage) {
  const HttpLimits& limits = service_.limits;
  stage_ = stage;
  stage_start_ = steady_clock::now();
  switch (stage) {
    case Stage::kFirstByte:
      return SetTimer(stage_start_ + (answered_one_ ? limits.idle : limits.first_byte));
    case Stage::kHead:
      return;  // OnRead() sets it
    case Stage::kAnswer:
    case Stage::kClosed:
      timer_.cancel();
      return;
    case Stage::kWrite:
      return SetTimer(stage_start_ + limits.write);
    case Stage::kLinger:
      return SetTimer(stage_start_ + limits.linger);
  }
}

void HttpConnection::SetTimer(steady_clock::time_point deadline) {
  timer_.expires_at(deadline);
  timer_.async_wait([self = shared_from_this()](ErrorCode error) {
    // It may have been set anew while this was on its way.
    if (!error && self->timer_.expiry() <= steady_clock::now()) self->OnTimer();
  });
}

void HttpConnection::OnTimer() {
  if (stage_ == Stage::kHead) return Refuse(408, "the request did not arrive in time");
  if (stage_ != Stage::kAnswer) Close();
}

void HttpConnection::Read() {
  socket_.async_read_some(asio::buffer(chunk_),
                          [self = shared_from_this()](ErrorCode error, size_t size) {
                            // Refused for its time meanwhile, which ends with Linger().
                            if (self->stage_ != Stage::kFirstByte && self->stage_ != Stage::kHead) {
                              return;
                            }
                            if (error) return self->Close();
                            self->OnRead(size);
                          });
}

void HttpConnection::OnRead(size_t size) {
  reader_.Add({chunk_.data(), size});
  if (stage_ == Stage::kFirstByte) Enter(Stage::kHead);
  const HttpLimits& limits = service_.limits;
  SetTimer(std::min(stage_start_ + limits.whole_head, steady_clock::now() + limits.between_bytes));
  ServeNext();
}

void HttpConnection::ServeNext() {
  const auto next = reader_.Next();
  if (!next) return Read();
  if (const auto* fault = std::get_if<HttpFault>(&*next)) return Refuse(fault->code, fault->reason);
  Serve(std::get<HttpRequest>(*next));
}

void HttpConnection::Serve(const HttpRequest& request) {
  head_only_ = request.method == "HEAD";
  keep_alive_ = request.keep_alive && !request.has_body;
  const auto route = std::ranges::find(service_.routes, request.path, &HttpRoute::path);
  if (route == service_.routes.end()) {
    return Write(TextResponse(404, "there is no such page; there are /metrics, /healthz, /readyz"));
  }
  if (request.method != "GET" && !head_only_) {
    return Write(TextResponse(405, "only GET and HEAD are served here"), "Allow: GET, HEAD\r\n");
  }
  if (request.has_body) return Refuse(413, "no request here takes a body");
  CallHandler(route->handler);
}

void HttpConnection::CallHandler(const HttpHandler& handler) {
  Enter(Stage::kAnswer);
  handler([self = shared_from_this()](HttpResponse response) {
    asio::post(self->socket_.get_executor(), [self, response = std::move(response)]() mutable {
      if (self->stage_ == Stage::kAnswer) self->Write(std::move(response));
    });
  });
}

void HttpConnection::Refuse(int code, const std::string& reason, std::string_view header) {
  keep_alive_ = false;
  head_only_ = false;
  Write(TextResponse(code, reason), header);
}

void HttpConnection::Write(HttpResponse response, std::string_view header) {
  Enter(Stage::kWrite);
  service_.metrics.Answered(response.code);
  response_ = std::move(response);
  head_ = FormatHead(response_, keep_alive_, header);
  const std::array<asio::const_buffer, 2> buffers = {
      asio::buffer(head_),
      head_only_ ? asio::const_buffer() : asio::buffer(std::as_const(*response_.body))};
  asio::async_write(socket_, buffers, [self = shared_from_this()](ErrorCode error, size_t) {
    if (self->stage_ != Stage::kWrite) return;
    if (error) return self->Close();
    self->OnWritten();
  });
}

void HttpConnection::OnWritten() {
  response_ = {};
  answered_one_ = true;
  if (!keep_alive_) return StartLingering();
  Enter(Stage::kFirstByte);
  if (reader_.empty()) return Read();
  Enter(Stage::kHead);
  SetTimer(stage_start_ + service_.limits.between_bytes);
  ServeNext();
}

void HttpConnection::StartLingering() {
  ErrorCode ignored;
  socket_.cancel(ignored);  // a read that was under way when its time was over
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  Enter(Stage::kLinger);
  Linger(service_.limits.linger_bytes);
}

// Reads `left` bytes, then none: the timer ends it.
void HttpConnection::Linger(size_t left) {
  socket_.async_read_some(asio::buffer(chunk_),
                          [self = shared_from_this(), left](ErrorCode error, size_t size) {
                            if (error) return self->Close();
                            if (size < left) self->Linger(left - size);
                          });
}

}  // namespace tessera
