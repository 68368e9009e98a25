#include "server/port_probe.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "engine/base/status.h"
#include "server/health_query.h"
#include "server/metric_set.h"
#include "server/peer_address.h"

namespace tessera {
namespace {

sockaddr* Generic(sockaddr_storage& address) { return reinterpret_cast<sockaddr*>(&address); }

sockaddr_storage LocalAddress(const FileDescriptor& socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  getsockname(socket.get(), Generic(address), &size);
  return address;
}

sockaddr_storage Loopback4(in_port_t port) {
  sockaddr_storage address{};
  auto& v4 = reinterpret_cast<sockaddr_in&>(address);
  v4.sin_family = AF_INET;
  v4.sin_port = port;
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Whom a client on this machine connects to. Either wildcard takes IPv4's connections.
sockaddr_storage Target(const FileDescriptor& listener) {
  const sockaddr_storage address = LocalAddress(listener);
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  const bool wildcard = address.ss_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr)
                                                      : v4.sin_addr.s_addr == htonl(INADDR_ANY);
  return wildcard ? Loopback4(v4.sin_port) : address;  // both families have the port in one place
}

absl::Status Fault(std::string_view what) {
  return absl::UnavailableError(fmt::format("{}: {}", what, std::strerror(errno)));
}

}  // namespace

void PortProbe::Start(const FileDescriptor& listener) {
  target_ = Target(listener);
  answered_ = Clock::now();
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

void PortProbe::Run(const std::stop_token& stop) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any stopped;
  while (!stop.stop_requested()) {
    const absl::Status status = Ask(stop);
    if (stop.stop_requested()) return;
    Tell(status);
    stopped.wait_for(lock, stop, times_.interval, [] { return false; });
  }
}

absl::Status PortProbe::Ask(const std::stop_token& stop) {
  const FileDescriptor question(
      socket(target_.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!question.valid()) return Fault("no socket to ask it with");
  sockaddr_storage source = target_;
  reinterpret_cast<sockaddr_in&>(source).sin_port = 0;
  if (bind(question.get(), Generic(source), sizeof(source)) != 0) return Fault("bind");
  announce_(ReadPeerAddress(LocalAddress(question)).name);
  if (connect(question.get(), Generic(target_), sizeof(target_)) != 0 && errno != EINPROGRESS) {
    return Fault("connect");
  }
  return QueryHealth(question, Clock::now() + times_.answer, stop);
}

void PortProbe::Tell(const absl::Status& status) {
  const Clock::time_point now = Clock::now();
  if (status.ok()) {
    answered_ = now;
    if (std::exchange(failing_, false)) spdlog::info("the gRPC port answers again");
    slot_.SetPortFault("");
  } else if (now - answered_.load() >= times_.patience) {
    const std::string reason(StatusMessage(status));
    if (!std::exchange(failing_, true)) spdlog::error("the gRPC port does not answer: {}", reason);
    slot_.SetPortFault(reason);
  }
}

std::vector<prometheus::MetricFamily> PortProbe::Collect() const {
  MetricSet set;
  set.Gauge("tessera_grpc_port_answer_age_seconds",
            "Seconds since the gRPC port last answered the server's own question.",
            std::chrono::duration<double>(Clock::now() - answered_.load()).count());
  return set.Take();
}

}  // namespace tessera
