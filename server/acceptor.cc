#include "server/acceptor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "server/metric_set.h"

namespace tessera {
namespace {

constexpr int kMaxEvents = 64;
constexpr int kAcceptsAtOnce = 64;  // then ends of connections get their turn
constexpr int kSweepMs = 20;
// Between looks at what has arrived: a twentieth of a core at most.
constexpr std::chrono::milliseconds kCheckInterval(50);
constexpr std::chrono::milliseconds kCheckSoon(2);
constexpr std::chrono::milliseconds kCheckWithout(500);  // connections
constexpr int kCheckShare = 20;
constexpr std::chrono::milliseconds kPause(20);  // where nothing can be accepted
constexpr std::chrono::seconds kLogInterval(10);
constexpr int64_t kHandingAtOnce = 4;
constexpr std::chrono::milliseconds kHandingPatience(20);

// What an event is about: the stop signal, a listener by its place, or a connection by its id.
constexpr uint64_t kStopTag = 0;
constexpr uint64_t kListenerTag = uint64_t{1} << 63;

}  // namespace

absl::Status Acceptor::Start(std::vector<FileDescriptor> listeners, std::unique_ptr<Grpc> grpc) {
  grpc_ = std::move(grpc);
  listeners_ = std::move(listeners);
  const bool reserved = reserve_.Open();
  epoll_ = FileDescriptor(epoll_create1(EPOLL_CLOEXEC));
  stop_ = FileDescriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  bool watched = Watch(stop_, EPOLLIN, kStopTag);
  for (size_t i = 0; i < listeners_.size(); ++i) {
    watched = Watch(listeners_[i], EPOLLIN, kListenerTag | i) && watched;
  }
  if (!watched || !reserved) {
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
  std::unique_lock lock(handing_mutex_);
  handed_.wait(lock, [this] { return handing_ == 0; });
}

void Acceptor::ExpectProbe(std::string name) {
  const std::lock_guard lock(probe_mutex_);
  probe_ = std::move(name);
}

bool Acceptor::TakeProbe(const PeerAddress& peer) {
  const std::lock_guard lock(probe_mutex_);
  if (probe_ != peer.name) return false;
  probe_.clear();
  return true;
}

bool Acceptor::Watch(const FileDescriptor& descriptor, uint32_t events, uint64_t tag) {
  epoll_event event{.events = events, .data = {.u64 = tag}};
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor.get(), &event) == 0;
}

void Acceptor::Run() {
  while (true) {
    epoll_event events[kMaxEvents];
    const int timeout = refused_sockets_.empty() ? WaitMs() : std::min(WaitMs(), kSweepMs);
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
    const Clock::time_point now = Clock::now();
    refused_sockets_.Sweep(now);
    if (now >= next_check_) {
      const auto interval = connections_.EndOverlongHeaders(now) ? kCheckSoon : kCheckInterval;
      next_check_ = now + std::max<Clock::duration>(interval, kCheckShare * (Clock::now() - now));
    }
  }
}

// Until the next look at what has arrived.
int Acceptor::WaitMs() const {
  if (connections_.open() == 0) return static_cast<int>(kCheckWithout.count());
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_check_ - Clock::now());
  return static_cast<int>(std::max(left, std::chrono::milliseconds(0)).count());
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
  if (TakeProbe(peer)) return HandOver(std::move(socket));
  const Clock::time_point now = Clock::now();
  if (const auto cause = connections_.MakeRoom(peer, now)) {
    return Refuse(std::move(socket), peer, *cause);
  }
  FileDescriptor copy(fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return Refuse(std::move(socket), peer, RefusalCause::kDescriptors);
  const int copied = copy.get();
  const uint64_t id = connections_.Add(peer, std::move(copy), socket.get(), now);
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

// gRPC reads from the connection on the thread that gives it, for as long as there is anything to
// read: a client that floods the port would have this thread for itself. So each has one for it. A
// crowd waits for its turns, since each of its connections has descriptors meanwhile.
void Acceptor::HandOver(FileDescriptor socket) {
  {
    std::unique_lock lock(handing_mutex_);
    handed_.wait_for(lock, kHandingPatience, [this] { return handing_ < kHandingAtOnce; });
    ++handing_;
  }
  const auto give = [this](int fd) {
    Grpc::NewConnectionParameters parameters;
    parameters.fd = fd;
    grpc_->HandleNewConnection(&parameters);
    const std::lock_guard lock(handing_mutex_);
    --handing_;
    handed_.notify_all();
  };
  const int fd = socket.Release();
  try {
    std::thread(give, fd).detach();
  } catch (const std::system_error&) {
    give(fd);  // there are no more threads
  }
}

void Acceptor::Refuse(FileDescriptor socket, const PeerAddress& peer, RefusalCause cause) {
  Count(cause, peer.name);
  refused_sockets_.Add(std::move(socket), Clock::now());
}

void Acceptor::RefuseWithoutDescriptors(int listener) {
  switch (reserve_.RefuseOne(listener)) {
    case ReserveDescriptor::Result::kRefused:
      return Count(RefusalCause::kDescriptors, "");
    case ReserveDescriptor::Result::kNobodyWaits:
      return;
    case ReserveDescriptor::Result::kLost:
      return std::this_thread::sleep_for(kPause);
  }
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
  for (int i = 0; i < kEndCauses; ++i) {
    const auto cause = static_cast<EndCause>(i);
    set.Counter("tessera_grpc_connections_ended_total",
                "Connections that the server ended: silent and idle ones to make room for new "
                "ones; headers, for more of them than a client needs; resets, for calls reset "
                "faster than they can be ended.",
                static_cast<double>(connections_.ended(cause)),
                {{"cause", std::string(EndCauseName(cause))}});
  }
  return set.Take();
}

}  // namespace tessera
