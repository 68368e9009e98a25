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
  Connections connections_{{.total = 10, .per_network = 10, .header_bytes = kHeaderBytes}};
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
  EXPECT_EQ(connections_.ended_headers(), 1);
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

INSTANTIATE_TEST_SUITE_P(Addresses, PeerTest, ::testing::Values("127.0.0.1", "::1"));

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
