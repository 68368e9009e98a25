// One client of the HTTP port: reads a request, has it answered, writes the answer, and so on in
// order until either side closes. Each stage has its time. Belongs to the port's one thread. Tests:
// tests/server/http_server_test.cc.
#pragma once

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "server/http_limits.h"
#include "server/http_message.h"
#include "server/http_metrics.h"
#include "server/http_request_reader.h"

namespace tessera {

// What all connections of a port share; outlives them.
struct HttpService {
  HttpLimits limits;
  HttpRoutes routes;
  HttpMetrics& metrics;
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  // `on_closed` is called once, from Close().
  HttpConnection(boost::asio::ip::tcp::socket socket, const HttpService& service,
                 std::function<void(const HttpConnection&)> on_closed);

  void Start();
  // At once. The object lives on until what is under way has come back.
  void Close();
  // Since when it waits for what it waits for now.
  std::chrono::steady_clock::time_point stage_start() const { return stage_start_; }

 private:
  using ErrorCode = boost::system::error_code;

  enum class Stage : uint8_t { kFirstByte, kHead, kAnswer, kWrite, kLinger, kClosed };

  void Enter(Stage stage);
  void SetTimer(std::chrono::steady_clock::time_point deadline);
  void OnTimer();
  void Read();
  void OnRead(size_t size);
  void ServeNext();
  void Serve(const HttpRequest& request);
  void CallHandler(const HttpHandler& handler);
  void Refuse(int code, const std::string& reason, std::string_view header = "");
  void Write(HttpResponse response, std::string_view header = "");
  void OnWritten();
  void StartLingering();
  void Linger(size_t left);

  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  const HttpService& service_;
  const std::function<void(const HttpConnection&)> on_closed_;
  HttpRequestReader reader_;
  Stage stage_ = Stage::kFirstByte;
  std::chrono::steady_clock::time_point stage_start_;
  // Of the request that is being answered:
  bool head_only_ = false;
  bool keep_alive_ = false;
  // Of the answer that is being written:
  std::string head_;
  HttpResponse response_;
  bool answered_one_ = false;
  std::array<char, 4096> chunk_;  // what was read last
};

}  // namespace tessera
