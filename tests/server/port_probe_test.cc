// Readiness is that of the gRPC port: asked over a socket, told when it does not answer and when it
// does again.
#include "server/port_probe.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <thread>

#include "engine/base/status.h"
#include "server/listening_sockets.h"
#include "tests/server/raw_connection.h"
#include "tests/server/server_fixture.h"

namespace tessera::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr ProbeTimes kQuick{
    .interval = milliseconds(20), .answer = milliseconds(200), .patience = milliseconds(300)};

class PortProbeTest : public ServerFixture {};

bool WaitForReadiness(const EngineSlot& slot, const std::string& reason) {
  const auto until = Clock::now() + seconds(10);
  while (slot.CheckReadiness().reason.find(reason) == std::string::npos) {
    if (Clock::now() > until) return false;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return true;
}

TEST_F(PortProbeTest, NotReadyWhileNobodyCanConnect) {
  StartServer({.probe = kQuick});
  const EngineSlot& slot =
      server_->slot();  // not asked for below: the asan preset's check of types needs descriptors
  ASSERT_TRUE(slot.CheckReadiness().ready);
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{.rlim_cur = 3, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  EXPECT_TRUE(WaitForReadiness(slot, "the gRPC port does not answer: "))
      << "not one descriptor is left";
  EXPECT_FALSE(slot.CheckReadiness().ready);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_TRUE(WaitForReadiness(slot, "ready"));
  EXPECT_TRUE(slot.CheckReadiness().ready);
}

TEST_F(PortProbeTest, TakesNobodysPlace) {
  StartServer({.max_connections = 1, .probe = kQuick});
  RawConnection held(server_->grpc_address());
  ASSERT_TRUE(held.Greet() && held.Receive());
  std::this_thread::sleep_for(kQuick.patience * 2);
  EXPECT_TRUE(server_->slot().CheckReadiness().ready) << "asked though all places are taken";
  EXPECT_EQ(held.WaitForEnd(milliseconds(10)), Ending::kOpen);
}

// The probe alone, against servers that are none.
class StrangerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto sockets = Listen({.host = "127.0.0.1", .port = 0});
    ASSERT_TRUE(sockets.ok());
    listener_ = std::move(sockets->sockets.front());
  }
  // The status after the probe's patience.
  std::string WaitForFault() {
    FakeEngine engine;
    EngineSlot slot;
    slot.Publish(&engine, 0);
    PortProbe probe(slot, kQuick, [](const std::string&) {});
    probe.Start(listener_);
    const auto until = Clock::now() + seconds(10);
    while (slot.CheckReadiness().ready && Clock::now() < until) {
      std::this_thread::sleep_for(milliseconds(10));
    }
    return slot.CheckReadiness().reason;
  }

  FileDescriptor listener_;
};

TEST_F(StrangerTest, APortThatTakesConnectionsAndDoesNotAnswer) {
  EXPECT_EQ(WaitForFault(), "the gRPC port does not answer: no answer in time");
}

TEST_F(StrangerTest, APortThatClosesEachConnection) {
  std::jthread closer([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      FileDescriptor client(accept4(listener_.get(), nullptr, nullptr, 0));
      if (client.valid()) shutdown(client.get(), SHUT_WR);
      std::this_thread::sleep_for(milliseconds(5));
    }
  });
  EXPECT_NE(WaitForFault().find("the gRPC port does not answer: "), std::string::npos);
}

TEST_F(StrangerTest, APortThatIsGone) {
  const FileDescriptor address(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in loopback{};
  loopback.sin_family = AF_INET;
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  bind(address.get(), reinterpret_cast<sockaddr*>(&loopback), sizeof(loopback));
  listener_.Close();
  FileDescriptor bound(dup(address.get()));  // bound, and nobody listens
  listener_ = std::move(bound);
  EXPECT_EQ(WaitForFault(), "the gRPC port does not answer: Connection refused");
}

}  // namespace
}  // namespace tessera::testing
