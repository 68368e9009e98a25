// Accepts the connections of the gRPC port and hands them to gRPC: gRPC 1.51's own listener never
// listens again after one failed accept, and bounds nothing. A connection over a limit is closed in
// order and counted; out of descriptors, one that is held in reserve serves to accept and close
// what waits, so that the port goes on whatever happens. Tests: tests/server/acceptor_test.cc,
// connections_test.cc.
#pragma once

#include <grpcpp/server_builder.h>
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "server/connections.h"
#include "server/file_descriptor.h"
#include "server/refused_sockets.h"
#include "server/reserve_descriptor.h"

namespace tessera {

class Acceptor : public prometheus::Collectable {
 public:
  using Grpc = grpc::experimental::ExternalConnectionAcceptor;

  explicit Acceptor(Connections& connections) : connections_(connections) {}
  ~Acceptor() override { Stop(); }

  // From now on `grpc` gets the connections; it must have been started. Once.
  absl::Status Start(std::vector<FileDescriptor> listeners, std::unique_ptr<Grpc> grpc);
  // Closes the port. gRPC gets no connection afterwards.
  void Stop();
  // One of those who listen, between Start() and Stop().
  const FileDescriptor& listener() const { return listeners_.front(); }

  // The next connection of this name (PeerAddress::name) is the server's own: it is neither counted
  // nor bounded.
  void ExpectProbe(std::string name);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  void Run();
  int WaitMs() const;
  void Accept(int listener);
  void Admit(FileDescriptor socket, const sockaddr_storage& address);
  void HandOver(FileDescriptor socket);
  void Refuse(FileDescriptor socket, const PeerAddress& peer, RefusalCause cause);
  void RefuseWithoutDescriptors(int listener);
  bool TakeProbe(const PeerAddress& peer);
  void Count(RefusalCause cause, const std::string& peer);
  bool Watch(const FileDescriptor& descriptor, uint32_t events, uint64_t tag);

  Connections& connections_;
  std::array<std::atomic<uint64_t>, kRefusalCauses> refused_{};
  std::atomic<uint64_t> accepted_ = 0;
  std::mutex probe_mutex_;
  std::string probe_;

  std::mutex handing_mutex_;
  std::condition_variable handed_;
  int64_t handing_ = 0;  // threads that give gRPC a connection; guarded by handing_mutex_
  std::unique_ptr<Grpc> grpc_;

  // Of the thread.
  std::vector<FileDescriptor> listeners_;
  RefusedSockets refused_sockets_;
  ReserveDescriptor reserve_;
  FileDescriptor epoll_;
  FileDescriptor stop_;
  Clock::time_point next_check_;
  Clock::time_point next_log_;
  int64_t unlogged_ = 0;  // refusals
  std::thread thread_;
};

}  // namespace tessera
