#include "server/http_request_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <limits>

namespace tessera {
namespace {

namespace http = boost::beast::http;

constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr int64_t kLinesBesideHeaders = 2;  // the request line and the empty one

HttpFault TooLargeHead(size_t limit) {
  return {.code = 431, .reason = fmt::format("the head has more than {} bytes", limit)};
}

// `head` is whole and within its limits.
std::variant<HttpRequest, HttpFault> ParseHead(std::string_view head) {
  http::request_parser<http::empty_body> parser;
  parser.header_limit(static_cast<uint32_t>(head.size()));
  parser.body_limit(std::numeric_limits<uint64_t>::max());
  boost::system::error_code error;
  parser.put(boost::asio::buffer(head.data(), head.size()), error);
  if (error == http::error::bad_version) {
    return HttpFault{.code = 505, .reason = "only HTTP/1.0 and HTTP/1.1 are spoken here"};
  }
  if (error || !parser.is_header_done()) {
    return HttpFault{.code = 400, .reason = "not a request: " + error.message()};
  }
  const auto& request = parser.get();
  const std::string_view target(request.target().data(), request.target().size());
  return HttpRequest{.method = std::string(request.method_string()),
                     .path = std::string(target.substr(0, target.find('?'))),
                     .keep_alive = request.keep_alive(),
                     .has_body = parser.content_length().value_or(0) > 0 ||
                                 request.count(http::field::transfer_encoding) > 0};
}

}  // namespace

std::optional<HttpFault> HttpRequestReader::CheckRequestLine() const {
  const size_t end = buffer_.find('\n');
  if (std::min(end, buffer_.size()) > limits_.request_line_bytes) {
    return HttpFault{.code = 414,
                     .reason = fmt::format("the request line has more than {} bytes",
                                           limits_.request_line_bytes)};
  }
  if (end != std::string::npos && (end == 0 || buffer_[end - 1] != '\r')) {
    return HttpFault{.code = 400, .reason = "not a request: its first line does not end in CR LF"};
  }
  return std::nullopt;
}

std::optional<std::variant<HttpRequest, HttpFault>> HttpRequestReader::Next() {
  if (auto fault = CheckRequestLine()) return *std::move(fault);
  const size_t end = buffer_.find(kHeadEnd, searched_);
  if (end == std::string::npos) {
    if (buffer_.size() > limits_.head_bytes) return TooLargeHead(limits_.head_bytes);
    searched_ = buffer_.size() - std::min(buffer_.size(), kHeadEnd.size() - 1);
    return std::nullopt;
  }
  const std::string head = buffer_.substr(0, end + kHeadEnd.size());
  buffer_.erase(0, head.size());
  searched_ = 0;
  if (head.size() > limits_.head_bytes) return TooLargeHead(limits_.head_bytes);
  const auto headers = std::ranges::count(head, '\n') - kLinesBesideHeaders;
  if (headers > static_cast<int64_t>(limits_.headers)) {
    return HttpFault{.code = 431, .reason = fmt::format("more than {} headers", limits_.headers)};
  }
  return ParseHead(head);
}

}  // namespace tessera
