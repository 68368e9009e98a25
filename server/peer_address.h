// The other end of a TCP connection over IPv4 or IPv6. Tests: tests/server/connections_test.cc.
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>

namespace tessera {

struct PeerAddress {
  // As gRPC calls it, but not percent-encoded: "ipv4:127.0.0.1:40000", "ipv6:[::1]:40000". An IPv4
  // address within IPv6 is an IPv4 address.
  std::string name;
  // What shares one allowance of connections: an IPv4 address, or the /64 of an IPv6 address, all
  // of which commonly belong to one subscriber.
  std::string network;
};

PeerAddress ReadPeerAddress(const sockaddr_storage& address);

// The name of what gRPC's `ServerContext::peer()` tells, which percent-encodes brackets.
std::string PeerName(std::string_view grpc_peer);

}  // namespace tessera
