#include "server/http_listener.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/ip/v6_only.hpp>
#include <cstring>
#include <utility>

#include "server/peer_address.h"

namespace tessera {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr std::chrono::milliseconds kPause(100);

// By whom connections are counted.
std::string NetworkOf(const tcp::endpoint& peer) {
  sockaddr_storage address{};
  std::memcpy(&address, peer.data(), peer.size());
  return ReadPeerAddress(address).network;
}

}  // namespace

HttpListener::~HttpListener() { Stop(); }

void HttpListener::Stop() {
  io_.stop();
  if (thread_.joinable()) thread_.join();
  ErrorCode ignored;
  acceptor_.close(ignored);
  while (!connections_.empty()) {
    const std::shared_ptr<HttpConnection> last = connections_.back().connection;
    last->Close();  // takes it out of the list
  }
}

absl::Status HttpListener::Start(const ListenAddress& address) {
  ErrorCode error;
  tcp::resolver resolver(io_);
  const auto endpoints =
      resolver.resolve(address.host, std::to_string(address.port),
                       tcp::resolver::passive | tcp::resolver::numeric_service, error);
  for (auto endpoint = endpoints.begin(); endpoint != endpoints.end(); ++endpoint) {
    error = Listen(endpoint->endpoint());
    if (!error) break;
  }
  if (error) {
    return absl::UnavailableError(
        fmt::format("cannot listen for http on {}: not an address of this machine, or in use ({})",
                    ToString(address), error.message()));
  }
  port_ = acceptor_.local_endpoint(error).port();
  reserve_.Open();
  Accept();
  thread_ = std::thread([this] { io_.run(); });
  return absl::OkStatus();
}

// Without SO_REUSEPORT, with which a second server would silently share the port.
HttpListener::ErrorCode HttpListener::Listen(const tcp::endpoint& endpoint) {
  ErrorCode error;
  ErrorCode ignored;
  acceptor_.close(ignored);
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error && endpoint.address().is_v6()) {
    acceptor_.set_option(asio::ip::v6_only(false), ignored);
  }
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  return error;
}

void HttpListener::Accept() {
  acceptor_.async_accept([this](ErrorCode error, Socket socket) {
    if (error) return OnAcceptError(error);
    OnAccepted(std::move(socket));
    Accept();
  });
}

void HttpListener::OnAccepted(Socket socket) {
  ErrorCode error;
  const tcp::endpoint peer = socket.remote_endpoint(error);
  if (error) return;  // gone already
  const std::string network = NetworkOf(peer);
  MakeRoom(network);
  const auto connection = std::make_shared<HttpConnection>(
      std::move(socket), service_, [this](const HttpConnection& closed) { Forget(closed); });
  connections_.push_back({.connection = connection, .network = network});
  service_.metrics.Opened();
  connection->Start();
}

// Whatever the error, the listener goes on.
void HttpListener::OnAcceptError(ErrorCode error) {
  if (error == asio::error::connection_aborted) return Accept();
  const bool no_descriptor = error == asio::error::no_descriptors || error.value() == ENFILE;
  if (no_descriptor &&
      reserve_.RefuseOne(acceptor_.native_handle()) == ReserveDescriptor::Result::kRefused) {
    service_.metrics.Refused(HttpRefusal::kDescriptors);
    return Accept();
  }
  pause_.expires_after(kPause);
  pause_.async_wait([this](ErrorCode stopped) {
    if (!stopped) Accept();
  });
}

void HttpListener::MakeRoom(const std::string& network) {
  const auto same = [&](const Entry& entry) { return entry.network == network; };
  const auto of_network = static_cast<size_t>(std::ranges::count_if(connections_, same));
  const bool per_address = of_network >= service_.limits.connections_per_address;
  if (!per_address && connections_.size() < service_.limits.connections) return;
  std::shared_ptr<HttpConnection> oldest;
  for (const Entry& entry : connections_) {
    if (per_address && !same(entry)) continue;
    if (!oldest || entry.connection->stage_start() < oldest->stage_start()) {
      oldest = entry.connection;
    }
  }
  service_.metrics.Refused(per_address ? HttpRefusal::kPerAddress : HttpRefusal::kTotal);
  oldest->Close();
}

void HttpListener::Forget(const HttpConnection& connection) {
  std::erase_if(connections_,
                [&](const Entry& entry) { return entry.connection.get() == &connection; });
  service_.metrics.Closed();
}

}  // namespace tessera
