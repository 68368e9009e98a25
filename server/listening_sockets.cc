#include "server/listening_sockets.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "engine/base/status.h"

namespace tessera {
namespace {

// A peer that acknowledges nothing for so long is gone.
constexpr unsigned kUserTimeoutMs = 20'000;

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::Status Fault(const ListenAddress& address, std::string_view reason) {
  return absl::UnavailableError(
      fmt::format("cannot listen for grpc on {}: {}", ToString(address), reason));
}

absl::StatusOr<AddressList> Resolve(const ListenAddress& address, const char* host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(host, std::to_string(address.port).c_str(), &hints, &list);
  if (error != 0) return Fault(address, gai_strerror(error));
  return AddressList(list, &freeaddrinfo);
}

int BoundPort(const FileDescriptor& socket) {
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &size) != 0) return 0;
  // Both families have the port in one place.
  return ntohs(reinterpret_cast<const sockaddr_in*>(&bound)->sin_port);
}

void SetOption(const FileDescriptor& socket, int level, int option, int value) {
  setsockopt(socket.get(), level, option, &value, sizeof(value));
}

// Invalid, with errno set, when the address cannot be had. Accepted sockets inherit the options.
FileDescriptor ListenOn(const addrinfo& entry, int port, bool both_families) {
  sockaddr_storage address{};
  std::memcpy(&address, entry.ai_addr, entry.ai_addrlen);
  reinterpret_cast<sockaddr_in*>(&address)->sin_port = htons(static_cast<uint16_t>(port));
  FileDescriptor listener(
      socket(entry.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!listener.valid()) return listener;
  SetOption(listener, SOL_SOCKET, SO_REUSEADDR, 1);
  SetOption(listener, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(listener, IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs);
  if (entry.ai_family == AF_INET6) SetOption(listener, IPPROTO_IPV6, IPV6_V6ONLY, !both_families);
  if (bind(listener.get(), reinterpret_cast<sockaddr*>(&address), entry.ai_addrlen) != 0 ||
      listen(listener.get(), SOMAXCONN) != 0) {
    const int error = errno;
    listener.Close();
    errno = error;
  }
  return listener;
}

bool IsWildcard(const std::string& host) { return host == "0.0.0.0" || host == "::"; }

}  // namespace

absl::StatusOr<ListeningSockets> Listen(const ListenAddress& address) {
  const bool wildcard = IsWildcard(address.host);
  // [::] takes IPv4's connections, too; where the machine has no IPv6, 0.0.0.0 is what remains.
  const std::vector<std::string> hosts =
      wildcard ? std::vector<std::string>{"::", "0.0.0.0"} : std::vector{address.host};
  ListeningSockets result{.sockets = {}, .port = address.port};
  std::string reason;
  for (const std::string& host : hosts) {
    ASSIGN_OR_RETURN(const AddressList list, Resolve(address, host.c_str()));
    for (const addrinfo* entry = list.get(); entry != nullptr; entry = entry->ai_next) {
      FileDescriptor listener = ListenOn(*entry, result.port, wildcard);
      if (!listener.valid()) {
        if (reason.empty()) reason = std::strerror(errno);
        continue;
      }
      result.port = BoundPort(listener);
      result.sockets.push_back(std::move(listener));
      if (wildcard) return result;
    }
  }
  if (result.sockets.empty()) return Fault(address, reason);
  return result;
}

}  // namespace tessera
