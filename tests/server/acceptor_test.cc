// What the server knows of a connection beside gRPC, under the name that gRPC gives its peer: what
// has arrived, and how to end it.
#include "server/acceptor.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <mutex>
#include <string>

#include "server/connections.h"
#include "server/listening_sockets.h"
#include "tests/server/raw_connection.h"

namespace tessera::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A server of any method that stores its callers' names and never answers.
class NameTaker : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    class Reactor : public grpc::ServerGenericBidiReactor {
      void OnDone() override { delete this; }
      void OnCancel() override { Finish(grpc::Status::CANCELLED); }
    };
    const std::lock_guard lock(mutex_);
    name_ = context->peer();
    return new Reactor;
  }
  std::string name() {
    const std::lock_guard lock(mutex_);
    return name_;
  }

 private:
  std::mutex mutex_;
  std::string name_;
};

class PeerTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto sockets = Listen({.host = GetParam(), .port = 0});
    ASSERT_TRUE(sockets.ok());
    address_ = ToString({.host = GetParam(), .port = sockets->port});
    grpc::ServerBuilder builder;
    auto external = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
        grpc::InsecureServerCredentials());
    builder.RegisterCallbackGenericService(&names_);
    grpc_ = builder.BuildAndStart();
    ASSERT_TRUE(acceptor_.Start(std::move(sockets->sockets), std::move(external)).ok());
  }
  void TearDown() override {
    acceptor_.Stop();
    grpc_->Shutdown(std::chrono::system_clock::now());
    grpc_->Wait();
  }

  std::string address_;
  NameTaker names_;
  static constexpr int64_t kHeaderBytes = 100'000;
  static constexpr int64_t kResetCalls = 10;
  Connections connections_{
      {.total = 10, .per_network = 10, .header_bytes = kHeaderBytes, .reset_calls = kResetCalls}};
  Acceptor acceptor_{connections_};
  std::unique_ptr<grpc::Server> grpc_;
};

// One call's headers, and the first bytes of a message of 1,000.
std::string HalfACall() {
  using namespace std::string_literals;
  const std::string headers =
      "\x83\x86\x04\x02/x\x01\x01y\x0f\x10\x10"s + "application/grpc" + "\x00\x02te\x08trailers"s;
  return "\0\0"s + static_cast<char>(headers.size()) + "\1\4\0\0\0\1"s + headers +
         "\0\0\x69\0\0\0\0\0\1\0\0\0\3\xe8"s + std::string(100, 'x');
}

TEST_P(PeerTest, IsKnownByTheNameThatGrpcGivesIt) {
  RawConnection client(address_);
  ASSERT_TRUE(client.Greet() && client.Send(HalfACall()));
  ASSERT_TRUE(Eventually([&] { return !names_.name().empty(); }));
  EXPECT_EQ(names_.name(), client.PeerName());
  const int64_t sent = 24 + 9 + static_cast<int64_t>(HalfACall().size());
  EXPECT_TRUE(Eventually([&] { return connections_.ReadBytes(names_.name()) == sent; }));
  EXPECT_EQ(connections_.ReadBytes("ipv4:127.0.0.1:1"), std::nullopt);
  EXPECT_EQ(connections_.ReadBytes("unknown"), std::nullopt);
  client.Close();
  EXPECT_TRUE(Eventually([&] { return connections_.open() == 0; }));
  EXPECT_EQ(connections_.ReadBytes(names_.name()), std::nullopt);
}

// HEADERS that announce more of them, and CONTINUATION frames of so many bytes in all, none the
// last.
std::string EndlessHeaders(size_t bytes) {
  using namespace std::string_literals;
  constexpr size_t kFrame = 16384;
  const std::string more = "\0\x40\0\x09\0\0\0\0\1"s + std::string(kFrame, 'x');
  std::string all = "\0\0\1\1\0\0\0\0\1\x83"s;
  while (all.size() < bytes) all += more;
  return all;
}

TEST_P(PeerTest, HeadersThatDoNotEndEndTheConnection) {
  RawConnection client(address_);
  ASSERT_TRUE(client.Greet());
  client.SendAll(EndlessHeaders(kHeaderBytes + 200'000));
  EXPECT_NE(client.WaitForEnd(), Ending::kOpen);
  EXPECT_EQ(connections_.ended(EndCause::kHeaders), 1);
}

TEST_P(PeerTest, WhatCallsReceiveIsNotHeaders) {
  RawConnection client(address_);
  const std::string name = client.PeerName();
  const std::string half = HalfACall();
  ASSERT_TRUE(client.Greet() && client.Send(half));
  ASSERT_TRUE(Eventually([&] { return !names_.name().empty(); }));
  connections_.BeginReceiving(name);
  connections_.BeginReceiving(name);
  connections_.EndReceiving(name);
  // One call still receives: HTTP/2's windows bound its message; pings of the same size do not.
  const std::string ping("\0\0\x08\6\1\0\0\0\0acknowle", 17);
  std::string pings;
  while (pings.size() < 2 * kHeaderBytes) pings += ping;
  ASSERT_TRUE(client.SendAll(pings));
  EXPECT_EQ(client.WaitForEnd(milliseconds(1200)), Ending::kOpen);
  connections_.EndReceiving(name);
  EXPECT_EQ(client.WaitForEnd(milliseconds(1200)), Ending::kOpen) << "what came before is forgiven";
  ASSERT_TRUE(client.SendAll(pings));
  EXPECT_NE(client.WaitForEnd(), Ending::kOpen);
}

// Frames of a type that nobody knows, which gRPC throws away, of so many bytes in all.
std::string UnknownFrames(size_t bytes) {
  using namespace std::string_literals;
  std::string all;
  while (all.size() < bytes) all += "\0\x03\xe8\x42\0\0\0\0\0"s + std::string(1000, 'x');
  return all;
}

TEST_P(PeerTest, WhatArrivesOutsideMessagesIsChargedUntilTheConnectionEnds) {
  MemoryBudget memory(int64_t{1} << 30);
  connections_.SetMemory(memory);
  const auto held = [&memory] { return memory.bytes(MemoryUse::kTransport); };
  RawConnection client(address_);
  ASSERT_TRUE(client.Greet() && client.SendAll(UnknownFrames(60'000)));
  EXPECT_TRUE(Eventually([&] { return held() > 55'000; })) << held();
  EXPECT_LT(held(), 62'000);
  client.Close();
  EXPECT_TRUE(Eventually([&] { return held() == 0; })) << held();
  connections_.Clear();
}

TEST_P(PeerTest, TheConnectionWithMostOutsideMessagesEndsWhereAllHoldTooMuch) {
  MemoryBudget memory(8 * 100'000);  // an eighth of it for all
  connections_.SetMemory(memory);
  RawConnection less(address_);
  RawConnection more(address_);
  ASSERT_TRUE(less.Greet() && less.SendAll(UnknownFrames(40'000)));
  ASSERT_TRUE(more.Greet() && more.SendAll(UnknownFrames(80'000)));
  EXPECT_NE(more.WaitForEnd(), Ending::kOpen);
  EXPECT_EQ(less.WaitForEnd(milliseconds(300)), Ending::kOpen);
  EXPECT_EQ(connections_.ended(EndCause::kHeaders), 1);
  connections_.Clear();
}

TEST_P(PeerTest, CallsThatAreResetFasterThanTheyEndEndTheirConnection) {
  MemoryBudget memory(int64_t{1} << 30);
  connections_.SetMemory(memory);
  RawConnection client(address_);
  RawConnection other(address_);
  ASSERT_TRUE(client.Greet() && other.Greet());
  ASSERT_TRUE(Eventually([&] { return connections_.open() == 2; }));
  const Clock::time_point now = Clock::now();
  std::vector<uint64_t> calls;
  const auto begin = [&](const RawConnection& connection, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      calls.push_back(connections_.BeginCall(connection.PeerName(), now));
    }
  };
  begin(other, kMaxStreamsPerConnection);
  begin(client, kMaxStreamsPerConnection + kResetCalls);
  EXPECT_EQ(connections_.ended(EndCause::kResets), 0);
  const auto held = [&memory] { return memory.bytes(MemoryUse::kTransport); };
  EXPECT_TRUE(Eventually([&] { return held() > std::ssize(calls) * 16'000; }));
  begin(client, 1);
  EXPECT_EQ(connections_.ended(EndCause::kResets), 1);
  EXPECT_NE(client.WaitForEnd(), Ending::kOpen);
  EXPECT_EQ(other.WaitForEnd(milliseconds(100)), Ending::kOpen);
  ASSERT_TRUE(Eventually([&] { return connections_.open() == 1; }));
  for (const uint64_t id : calls) connections_.EndCall(id, now);
  EXPECT_TRUE(Eventually([&] { return held() == 0; })) << held();
  begin(other, kMaxStreamsPerConnection + kResetCalls);
  EXPECT_EQ(connections_.ended(EndCause::kResets), 1) << "those that are gone do not count";
  connections_.Clear();
}

INSTANTIATE_TEST_SUITE_P(Addresses, PeerTest, ::testing::Values("127.0.0.1", "::1"));

class RoomTest : public ::testing::Test {
 protected:
  static PeerAddress Peer(const std::string& network, int port) {
    return {.name = "ipv4:" + network + ":" + std::to_string(port), .network = network};
  }
  // One call each, which ends `ago` before now_.
  void AddCalled(const std::string& network, int count, std::chrono::seconds ago) {
    for (int i = 0; i < count; ++i) {
      const PeerAddress peer = Peer(network, ++port_);
      connections_.Add(peer, FileDescriptor(), -1, now_ - seconds(600));
      connections_.BeginReceiving(peer.name);
      connections_.EndReceiving(peer.name);
      connections_.EndCall(connections_.BeginCall(peer.name, now_ - ago), now_ - ago);
    }
  }

  Connections connections_{{.total = 6, .per_network = 4}};
  const Clock::time_point now_ = Clock::now();
  int port_ = 0;
};

TEST_F(RoomTest, IdleConnectionsOfWhoHoldsMostMakeRoom) {
  AddCalled("10.0.0.1", 2, seconds(300));
  AddCalled("10.0.0.2", 3, seconds(40));
  AddCalled("10.0.0.2", 1, seconds(50));
  const std::string oldest = "ipv4:10.0.0.2:6";
  ASSERT_TRUE(connections_.ReadBytes(oldest).has_value());
  EXPECT_EQ(connections_.MakeRoom(Peer("10.0.0.3", 1), now_), std::nullopt);
  EXPECT_EQ(connections_.ended(EndCause::kIdle), 1);
  EXPECT_FALSE(connections_.ReadBytes(oldest).has_value());
  EXPECT_EQ(connections_.open(), 5);
}

TEST_F(RoomTest, AnAddressOverItsShareGivesUpItsOwnIdleOnes) {
  AddCalled("10.0.0.1", 1, seconds(300));
  AddCalled("10.0.0.2", 4, seconds(40));
  EXPECT_EQ(connections_.MakeRoom(Peer("10.0.0.2", 1), now_), std::nullopt);
  EXPECT_TRUE(connections_.ReadBytes("ipv4:10.0.0.1:1").has_value());
  EXPECT_EQ(connections_.open(), 4);
}

TEST_F(RoomTest, ConnectionsInUseOrLatelyUsedStay) {
  AddCalled("10.0.0.2", 2, seconds(20));
  AddCalled("10.0.0.1", 4, seconds(40));
  std::vector<uint64_t> calls;
  for (int port = 3; port <= 6; ++port) {
    calls.push_back(connections_.BeginCall(Peer("10.0.0.1", port).name, now_ - seconds(35)));
  }
  EXPECT_EQ(connections_.MakeRoom(Peer("10.0.0.3", 1), now_), RefusalCause::kTotal);
  connections_.EndCall(calls[0], now_ - seconds(31));
  EXPECT_EQ(connections_.MakeRoom(Peer("10.0.0.3", 1), now_), std::nullopt);
}

TEST_F(RoomTest, TooManyHeldCallsEndTheConnectionThatHasMost) {
  Connections connections({.total = 6, .per_network = 4, .held_calls = 5});
  for (int port = 1; port <= 3; ++port) {
    connections.Add(Peer("10.0.0.1", port), FileDescriptor(), -1, now_);
  }
  const auto hold = [&](int port) {
    return connections.BeginCall(Peer("10.0.0.1", port).name, now_, CallKind::kHeld);
  };
  const uint64_t first = hold(1);
  hold(2);
  for (int i = 0; i < 3; ++i) hold(3);
  EXPECT_EQ(connections.ended(EndCause::kHeld), 0u);
  hold(2);
  EXPECT_EQ(connections.ended(EndCause::kHeld), 1u);
  hold(2);
  EXPECT_EQ(connections.ended(EndCause::kHeld), 1u) << "those of an ended one are about to go";
  connections.EndCall(first, now_, CallKind::kHeld);
  for (int i = 0; i < 2; ++i) hold(2);
  EXPECT_EQ(connections.ended(EndCause::kHeld), 1u);
  hold(1);
  EXPECT_EQ(connections.ended(EndCause::kHeld), 2u);
}

sockaddr_storage Address6(const char* text) {
  sockaddr_storage address{};
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(7);
  inet_pton(AF_INET6, text, &v6.sin6_addr);
  return address;
}

TEST(PeerAddressTest, OneSubscriberIsOneNetwork) {
  EXPECT_EQ(ReadPeerAddress(Address6("2001:db8:1:2::a")).network,
            ReadPeerAddress(Address6("2001:db8:1:2:f::b")).network);
  EXPECT_NE(ReadPeerAddress(Address6("2001:db8:1:2::a")).network,
            ReadPeerAddress(Address6("2001:db8:1:3::a")).network);
  EXPECT_EQ(ReadPeerAddress(Address6("2001:db8::a")).name, "ipv6:[2001:db8::a]:7");
  EXPECT_EQ(ReadPeerAddress(Address6("::ffff:10.0.0.1")).name, "ipv4:10.0.0.1:7");
  EXPECT_EQ(ReadPeerAddress(Address6("::ffff:10.0.0.1")).network, "10.0.0.1");
}

TEST(PeerAddressTest, NamesAreDecoded) {
  EXPECT_EQ(PeerName("ipv6:%5Bfe80::1%252%5D:50"), "ipv6:[fe80::1%2]:50");
  EXPECT_EQ(PeerName("ipv4:127.0.0.1:40000"), "ipv4:127.0.0.1:40000");
  EXPECT_EQ(PeerName("100%"), "100%");
  EXPECT_EQ(PeerName("%zz%5"), "%zz%5");
}

}  // namespace
}  // namespace tessera::testing
