#include "server/acceptor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "server/metric_set.h"

namespace tessera {
namespace {

constexpr int kMaxEvents = 64;
constexpr int kAcceptsAtOnce = 64;  // then ends of connections get their turn
constexpr int kSweepMs = 20;
constexpr std::chrono::milliseconds kPause(20);  // where nothing can be accepted
constexpr std::chrono::seconds kLogInterval(10);

// What an event is about: the stop signal, a listener by its place, or a connection by its id.
constexpr uint64_t kStopTag = 0;
constexpr uint64_t kListenerTag = uint64_t{1} << 63;

FileDescriptor OpenReserve() { return FileDescriptor(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

}  // namespace

absl::Status Acceptor::Start(ListeningSockets sockets, std::unique_ptr<Grpc> grpc) {
  grpc_ = std::move(grpc);
  listeners_ = std::move(sockets.sockets);
  reserve_ = OpenReserve();
  epoll_ = FileDescriptor(epoll_create1(EPOLL_CLOEXEC));
  stop_ = FileDescriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  bool watched = Watch(stop_, EPOLLIN, kStopTag);
  for (size_t i = 0; i < listeners_.size(); ++i) {
    watched = Watch(listeners_[i], EPOLLIN, kListenerTag | i) && watched;
  }
  if (!watched || !reserve_.valid()) {
    return absl::UnavailableError(
        fmt::format("cannot watch the gRPC port: {}", std::strerror(errno)));
  }
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

void Acceptor::Stop() {
  if (!thread_.joinable()) return;
  eventfd_write(stop_.get(), 1);
  thread_.join();
  listeners_.clear();
}

void Acceptor::ExpectProbe(std::string name) {
  const std::lock_guard lock(probe_mutex_);
  probe_ = std::move(name);
}

bool Acceptor::IsProbe(const PeerAddress& peer) {
  const std::lock_guard lock(probe_mutex_);
  return probe_ == peer.name;
}

bool Acceptor::Watch(const FileDescriptor& descriptor, uint32_t events, uint64_t tag) {
  epoll_event event{.events = events, .data = {.u64 = tag}};
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor.get(), &event) == 0;
}

void Acceptor::Run() {
  while (true) {
    epoll_event events[kMaxEvents];
    const int timeout = refused_sockets_.empty() ? -1 : kSweepMs;
    const int count = epoll_wait(epoll_.get(), events, kMaxEvents, timeout);
    for (int i = 0; i < count; ++i) {
      const uint64_t tag = events[i].data.u64;
      if (tag == kStopTag) return;
      if ((tag & kListenerTag) != 0) {
        Accept(listeners_.at(tag & ~kListenerTag).get());
      } else if ((events[i].events & EPOLLHUP) != 0) {
        connections_.Remove(tag);
      }
    }
    refused_sockets_.Sweep(Clock::now());
  }
}

void Acceptor::Accept(int listener) {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    FileDescriptor socket(accept4(listener, reinterpret_cast<sockaddr*>(&address), &size,
                                  SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.valid()) {
      Admit(std::move(socket), address);
    } else if (errno == EMFILE || errno == ENFILE) {
      RefuseWithoutDescriptors(listener);
    } else if (errno == EAGAIN) {
      return;
    } else if (errno == ENOBUFS || errno == ENOMEM) {
      std::this_thread::sleep_for(kPause);
      return;
    }  // else: a fault of that connection, which is gone (accept(2))
  }
}

void Acceptor::Admit(FileDescriptor socket, const sockaddr_storage& address) {
  const PeerAddress peer = ReadPeerAddress(address);
  if (IsProbe(peer)) return HandOver(std::move(socket));
  const Clock::time_point now = Clock::now();
  if (const auto cause = connections_.MakeRoom(peer, now)) {
    return Refuse(std::move(socket), peer, *cause);
  }
  FileDescriptor copy(fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return Refuse(std::move(socket), peer, RefusalCause::kDescriptors);
  const int copied = copy.get();
  const uint64_t id = connections_.Add(peer, std::move(copy), now);
  ++accepted_;
  // gRPC shuts a socket down before it closes its descriptor; that is told to ours as a hang-up.
  // Edge-triggered, for errors that are queued for gRPC would be told for ever.
  epoll_event event{.events = EPOLLET, .data = {.u64 = id}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, copied, &event) != 0) {
    connections_.Remove(id);
    return Refuse(std::move(socket), peer, RefusalCause::kDescriptors);
  }
  HandOver(std::move(socket));
}

void Acceptor::HandOver(FileDescriptor socket) {
  Grpc::NewConnectionParameters parameters;
  parameters.fd = socket.Release();
  grpc_->HandleNewConnection(&parameters);
}

void Acceptor::Refuse(FileDescriptor socket, const PeerAddress& peer, RefusalCause cause) {
  Count(cause, peer.name);
  refused_sockets_.Add(std::move(socket), Clock::now());
}

void Acceptor::RefuseWithoutDescriptors(int listener) {
  reserve_.Close();
  FileDescriptor socket(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  const bool accepted = socket.valid();
  CloseCleanly(std::move(socket));
  if (accepted) Count(RefusalCause::kDescriptors, "");
  reserve_ = OpenReserve();
  if (!reserve_.valid()) std::this_thread::sleep_for(kPause);  // somebody else was faster
}

void Acceptor::Count(RefusalCause cause, const std::string& peer) {
  ++refused_[static_cast<size_t>(cause)];
  ++unlogged_;
  const Clock::time_point now = Clock::now();
  if (now < next_log_) return;
  next_log_ = now + kLogInterval;
  spdlog::warn(
      "refused {} connections: {} of at most {} are open, {} per address; last cause={} peer={}",
      std::exchange(unlogged_, 0), connections_.open(), connections_.limits().total,
      connections_.limits().per_network, RefusalCauseName(cause), peer.empty() ? "-" : peer);
}

std::vector<prometheus::MetricFamily> Acceptor::Collect() const {
  MetricSet set;
  set.Gauge("tessera_grpc_connections_open", "Connections that gRPC serves.",
            static_cast<double>(connections_.open()));
  set.Gauge("tessera_grpc_connections_max", "Most connections that may be open.",
            static_cast<double>(connections_.limits().total));
  set.Counter("tessera_grpc_connections_accepted_total", "Connections that gRPC was given.",
              static_cast<double>(accepted_));
  for (int i = 0; i < kRefusalCauses; ++i) {
    set.Counter("tessera_grpc_connections_refused_total",
                "Connections closed as soon as they were accepted, by which limit was reached.",
                static_cast<double>(refused_[i]),
                {{"cause", std::string(RefusalCauseName(static_cast<RefusalCause>(i)))}});
  }
  set.Counter("tessera_grpc_connections_displaced_total",
              "Connections that had said nothing, ended to make room for a new one.",
              static_cast<double>(connections_.displaced()));
  return set.Take();
}

}  // namespace tessera
