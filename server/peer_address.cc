#include "server/peer_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <charconv>
#include <cstring>

namespace tessera {
namespace {

constexpr size_t kMappedPrefix = 12;  // bytes before the IPv4 address in ::ffff:a.b.c.d
constexpr size_t kNetworkBytes = 8;   // of an IPv6 address

std::string Text(int family, const void* bytes) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(family, bytes, text, sizeof(text));
  return text;
}

PeerAddress Read4(const void* bytes, in_port_t port) {
  const std::string host = Text(AF_INET, bytes);
  return {.name = fmt::format("ipv4:{}:{}", host, ntohs(port)), .network = host};
}

PeerAddress Read6(const sockaddr_in6& address) {
  const in6_addr& bytes = address.sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&bytes)) return Read4(&bytes.s6_addr[kMappedPrefix], address.sin6_port);
  in6_addr network{};
  std::memcpy(network.s6_addr, bytes.s6_addr, kNetworkBytes);
  const std::string scope =
      address.sin6_scope_id == 0 ? "" : fmt::format("%{}", address.sin6_scope_id);
  return {.name = fmt::format("ipv6:[{}{}]:{}", Text(AF_INET6, &bytes), scope,
                              ntohs(address.sin6_port)),
          .network = Text(AF_INET6, &network) + "/64" + scope};
}

}  // namespace

PeerAddress ReadPeerAddress(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof(v6));
    return Read6(v6);
  }
  sockaddr_in v4{};
  std::memcpy(&v4, &address, sizeof(v4));
  return Read4(&v4.sin_addr, v4.sin_port);
}

std::string PeerName(std::string_view grpc_peer) {
  std::string name;
  while (!grpc_peer.empty()) {
    unsigned value = 0;
    if (grpc_peer.front() == '%' && grpc_peer.size() >= 3 &&
        std::from_chars(grpc_peer.data() + 1, grpc_peer.data() + 3, value, 16).ptr ==
            grpc_peer.data() + 3) {
      name += static_cast<char>(value);
      grpc_peer.remove_prefix(3);
    } else {
      name += grpc_peer.front();
      grpc_peer.remove_prefix(1);
    }
  }
  return name;
}

}  // namespace tessera
