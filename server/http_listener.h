// The HTTP port: accepts connections within the limits and drives all of them by one thread. Tests:
// tests/server/http_server_test.cc.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "server/http_connection.h"
#include "server/listen_address.h"
#include "server/reserve_descriptor.h"

namespace tessera {

class HttpListener {
 public:
  HttpListener(const HttpLimits& limits, HttpRoutes routes, HttpMetrics& metrics)
      : service_{.limits = limits, .routes = std::move(routes), .metrics = metrics} {}
  ~HttpListener();

  // Opens the port and serves from then on. UNAVAILABLE when it cannot be had. Once.
  absl::Status Start(const ListenAddress& address);
  // Closes all connections; afterwards no handler is called. Answers may still come, for nobody.
  void Stop();
  // The one that was chosen for 0.
  int port() const { return port_; }

 private:
  using ErrorCode = boost::system::error_code;
  using Socket = boost::asio::ip::tcp::socket;

  struct Entry {
    std::shared_ptr<HttpConnection> connection;
    std::string network;
  };

  ErrorCode Listen(const boost::asio::ip::tcp::endpoint& endpoint);
  void Accept();
  void OnAccepted(Socket socket);
  void OnAcceptError(ErrorCode error);
  void MakeRoom(const std::string& network);
  void Forget(const HttpConnection& connection);

  HttpService service_;
  boost::asio::io_context io_{1};  // one thread runs it; what follows is that thread's
  boost::asio::ip::tcp::acceptor acceptor_{io_};
  boost::asio::steady_timer pause_{io_};
  ReserveDescriptor reserve_;
  std::vector<Entry> connections_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace tessera
