// The connections of the gRPC port over real TCP: what many, silent, idle and unlucky ones cost the
// others, which is nothing but their own place.
#include <sys/resource.h>
#include <sys/wait.h>

#include <filesystem>
#include <iterator>
#include <thread>
#include <vector>

#include "server/descriptor_limit.h"
#include "server/listening_sockets.h"
#include "tests/server/raw_connection.h"
#include "tests/server/server_fixture.h"

namespace tessera::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

int64_t OpenDescriptors() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return std::distance(begin(files), end(files)) - 1;
}

// The soft limit of descriptors for as long as this lives.
class SoftLimit {
 public:
  explicit SoftLimit(int64_t descriptors) {
    getrlimit(RLIMIT_NOFILE, &before_);
    Set(static_cast<rlim_t>(descriptors));
  }
  ~SoftLimit() { Set(before_.rlim_cur); }

 private:
  void Set(rlim_t soft) {
    const rlimit limit{.rlim_cur = soft, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  rlimit before_{};
};

class ConnectionsTest : public ServerFixture {
 protected:
  double Open() { return Metric("tessera_grpc_connections_open"); }
  double Refused(const std::string& cause) {
    return Metric("tessera_grpc_connections_refused_total{cause=\"" + cause + "\"}");
  }

  // Over a connection of its own, unless one is given.
  grpc::Status Ask(const std::shared_ptr<grpc::Channel>& channel = nullptr) {
    const auto stub = v1::ModelService::NewStub(channel ? channel : NewChannel());
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + seconds(10));
    v1::ListModelsResponse models;
    return stub->ListModels(&context, {}, &models);
  }

  // Connected, and known to the server as one that speaks.
  RawConnection Greeted(const std::string& source = "") {
    RawConnection connection(server_->grpc_address(), source);
    EXPECT_TRUE(connection.connected() && connection.Greet() && connection.Receive());
    return connection;
  }
};

// Opens connections in another process, which has descriptors of its own, and keeps them until it
// is told to end. How many were opened, or -1.
class Crowd {
 public:
  Crowd(const std::string& address, int count) {
    const ListenAddress target = *ParseListenAddress(address);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(target.port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(pipe(done_), 0);
    EXPECT_EQ(pipe(end_), 0);
    child_ = fork();
    if (child_ != 0) return;
    // Only what is safe in the child of a process with threads.
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int opened = 0;
    pollfd last{.fd = -1, .events = POLLIN, .revents = 0};
    for (int i = 0; i < count; ++i) {
      last.fd = socket(AF_INET, SOCK_STREAM, 0);
      if (connect(last.fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0) ++opened;
    }
    poll(&last, 1, 10'000);
    char byte = 0;
    (void)!write(done_[1], &opened, sizeof(opened));
    (void)!read(end_[0], &byte, 1);
    _exit(0);
  }
  ~Crowd() {
    End();
    for (const int fd : {done_[0], done_[1], end_[0], end_[1]}) close(fd);
  }

  // How many were opened, once the server has closed the last of them.
  int WaitUntilRefused() {
    int opened = -1;
    (void)!read(done_[0], &opened, sizeof(opened));
    return opened;
  }
  void End() {
    if (child_ <= 0) return;
    (void)!write(end_[1], "", 1);
    waitpid(std::exchange(child_, 0), nullptr, 0);
  }

 private:
  int done_[2];
  int end_[2];
  pid_t child_ = 0;
};

TEST_F(ConnectionsTest, ThePortSurvivesRunningOutOfDescriptors) {
  StartServer();
  ASSERT_TRUE(Ask().ok());
  {
    const SoftLimit limit(OpenDescriptors() + 40);
    Crowd crowd(server_->grpc_address(), 300);
    EXPECT_EQ(crowd.WaitUntilRefused(), 300);
  }  // what asks below needs descriptors, too
  EXPECT_TRUE(Eventually([&] { return Refused("descriptors") > 0; }));
  EXPECT_TRUE(Eventually([&] { return Open() <= 1; }));
  EXPECT_TRUE(Ask().ok()) << "a client that comes later";
}

TEST_F(ConnectionsTest, ThePortServesBesideManyOpenConnections) {
  // What remains of 1,024 descriptors: the crowd is more than that.
  const SoftLimit limit(1024);
  StartServer({.handshake_time = seconds(60)});
  Crowd crowd(server_->grpc_address(), 1100);
  ASSERT_TRUE(
      Eventually([&] { return Metric("tessera_grpc_connections_accepted_total") >= 1100; }));
  EXPECT_TRUE(Ask().ok()) << "they are still open";
  EXPECT_GT(Metric("tessera_grpc_connections_ended_total{cause=\"silent\"}"), 0);
}

TEST_F(ConnectionsTest, OverTheLimitOfAllIsACleanCloseAndCounted) {
  StartServer({.max_connections = 3, .max_connections_per_address = 2});
  std::vector<RawConnection> held;
  for (const char* source : {"127.0.0.1", "127.0.0.2", "127.0.0.2"}) {
    held.push_back(Greeted(source));
  }
  EXPECT_EQ(Open(), 3);
  RawConnection late(server_->grpc_address(), "127.0.0.1");
  late.Greet();
  EXPECT_EQ(late.WaitForEnd(), Ending::kClosed) << "and no reset";
  EXPECT_EQ(Refused("total"), 1);
  EXPECT_EQ(Refused("address"), 0);
  EXPECT_EQ(Open(), 3);
  held.pop_back();
  ASSERT_TRUE(Eventually([&] { return Open() == 2; }));
  EXPECT_TRUE(Ask().ok()) << "there is room again";
}

TEST_F(ConnectionsTest, OneAddressCannotTakeTheOthersPlaces) {
  StartServer({.max_connections = 8, .max_connections_per_address = 2});
  std::vector<RawConnection> held;
  for (int i = 0; i < 2; ++i) held.push_back(Greeted("127.0.0.1"));
  RawConnection late(server_->grpc_address(), "127.0.0.1");
  EXPECT_EQ(late.WaitForEnd(), Ending::kClosed);
  EXPECT_EQ(Refused("address"), 1);
  EXPECT_EQ(Greeted("127.0.0.2").WaitForEnd(milliseconds(50)), Ending::kOpen);
}

TEST_F(ConnectionsTest, SilentOnesMakeRoomForNewOnes) {
  StartServer({.max_connections = 2, .handshake_time = seconds(60)});
  RawConnection silent(server_->grpc_address());
  const RawConnection speaking = Greeted();
  EXPECT_TRUE(Ask().ok());
  EXPECT_EQ(silent.WaitForEnd(), Ending::kClosed);
  EXPECT_EQ(Metric("tessera_grpc_connections_ended_total{cause=\"silent\"}"), 1);
  EXPECT_EQ(Refused("total"), 0);
}

TEST_F(ConnectionsTest, AGreetingThatDoesNotComeEndsTheConnection) {
  StartServer({.handshake_time = milliseconds(300)});
  RawConnection silent(server_->grpc_address());
  RawConnection half(server_->grpc_address());
  half.Send("PRI * HTTP/2.0\r\n");
  RawConnection greeted = Greeted();
  EXPECT_NE(silent.WaitForEnd(), Ending::kOpen);
  EXPECT_NE(half.WaitForEnd(), Ending::kOpen);
  EXPECT_EQ(greeted.WaitForEnd(milliseconds(400)), Ending::kOpen);
  greeted.Close();
  EXPECT_TRUE(Eventually([&] { return Open() == 0; }));
}

TEST_F(ConnectionsTest, ConnectionsWithoutCallsEndAndThoseWithCallsDoNot) {
  StartServer({.idle_time = milliseconds(300)});
  engine_->SetScript(SpellAndStay("x"));
  grpc::ClientContext context;
  const auto reader = generation_->StreamGenerate(&context, Question());
  v1::StreamGenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(Greeted().WaitForEnd(), Ending::kClosed);
  EXPECT_EQ(Open(), 1) << "the one with a call, for longer than the idle time";
  context.TryCancel();
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  EXPECT_TRUE(Eventually([&] { return Open() == 0; }));
}

// What a message that nobody has asked for may take is the window that its stream begins with; it
// is HTTP/2's default where SETTINGS do not tell another.
TEST_F(ConnectionsTest, UnreadMessagesHaveSmallWindows) {
  StartServer();
  RawConnection client(server_->grpc_address());
  ASSERT_TRUE(client.Greet());
  const std::string settings = client.ReceiveFrame();
  ASSERT_GE(settings.size(), 9u);
  EXPECT_EQ(settings[3], 4) << "a SETTINGS frame comes first";
  for (size_t at = 9; at + 6 <= settings.size(); at += 6) {
    const auto byte = [&](size_t i) -> uint32_t { return static_cast<uint8_t>(settings[at + i]); };
    const uint32_t value = byte(2) << 24 | byte(3) << 16 | byte(4) << 8 | byte(5);
    if (byte(1) == 4) {
      EXPECT_LE(value, 65535u) << "SETTINGS_INITIAL_WINDOW_SIZE";
    }
  }
}

TEST_F(ConnectionsTest, NothingIsLeftOfConnectionsThatEnd) {
  StartServer();
  ASSERT_TRUE(Ask().ok());
  ASSERT_TRUE(Eventually([&] { return Open() == 0; }));
  const int64_t before = OpenDescriptors();
  for (int i = 0; i < 300; ++i) {
    RawConnection connection(server_->grpc_address());
    ASSERT_TRUE(connection.connected());
    if (i % 3 != 0) connection.Greet();
    if (i % 3 == 2) connection.Receive();
  }
  EXPECT_TRUE(Eventually([&] { return Open() == 0; }));
  // The server's own question and the metrics page take some for a moment.
  EXPECT_TRUE(Eventually([&] { return OpenDescriptors() <= before + 1; })) << OpenDescriptors();
}

TEST_F(ConnectionsTest, ADrainClosesThePortAndTheConnections) {
  StartServer();
  RawConnection held = Greeted();
  const std::string address = server_->grpc_address();
  const std::stop_source hurry;
  server_->Drain(seconds(1), hurry.get_token());
  EXPECT_NE(held.WaitForEnd(), Ending::kOpen);
  EXPECT_FALSE(RawConnection(address).connected());
  EXPECT_EQ(Open(), 0);
}

class ListenTest : public ConnectionsTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(ListenTest, EveryKindOfAddressIsServed) {
  StartServer({}, GetParam());
  ASSERT_NE(server_, nullptr);
  EXPECT_TRUE(Ask(channel_).ok());
  EXPECT_EQ(Open(), 1);
}

INSTANTIATE_TEST_SUITE_P(Addresses, ListenTest,
                         ::testing::Values("127.0.0.1", "::1", "localhost", "0.0.0.0", "::"));

TEST(ListenErrorTest, AnAddressThatCannotBeHadIsAnErrorThatSaysWhy) {
  for (const char* host : {"192.0.2.1", "no-such-host.invalid"}) {
    const auto sockets = Listen({.host = host, .port = 0});
    ASSERT_FALSE(sockets.ok());
    EXPECT_NE(sockets.status().ToString().find(host), std::string::npos);
  }
}

TEST(DescriptorLimitTest, SaysHowManyConnectionsItMakes) {
  const auto limits = [](int64_t total, int64_t per_network, int64_t descriptors) {
    const auto chosen = ChooseConnectionLimits(total, per_network, descriptors);
    return chosen.ok() ? std::make_pair(chosen->total, chosen->per_network)
                       : std::make_pair(int64_t{-1}, int64_t{-1});
  };
  using Pair = std::pair<int64_t, int64_t>;
  EXPECT_EQ(limits(0, 0, 1024), Pair(384, 96));
  EXPECT_EQ(limits(0, 0, 1 << 20), Pair(4096, 1024));
  EXPECT_EQ(limits(0, 0, 64), Pair(24, 24));
  EXPECT_EQ(limits(100, 0, 1024), Pair(100, 64));
  EXPECT_EQ(limits(384, 384, 1024), Pair(384, 384));
  EXPECT_EQ(limits(385, 0, 1024), Pair(-1, -1));
  EXPECT_EQ(limits(100, 101, 1024), Pair(-1, -1));
  EXPECT_NE(ChooseConnectionLimits(385, 0, 1024).status().ToString().find("at most 384"),
            std::string::npos);
}

TEST(DescriptorLimitTest, TheSoftLimitIsRaisedToTheHardOne) {
  rlimit hard{};
  getrlimit(RLIMIT_NOFILE, &hard);
  const SoftLimit low(300);
  const DescriptorLimit raised = RaiseDescriptorLimit();
  EXPECT_EQ(raised.before, 300);
  EXPECT_EQ(raised.now, static_cast<int64_t>(hard.rlim_max));
}

}  // namespace
}  // namespace tessera::testing
