// The HTTP port under what hostile and clumsy clients send: bytes over real sockets. Whatever they
// do, health and metrics are answered in time and memory stays small.
#include "server/http_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "server/metric_set.h"
#include "tests/server/raw_client.h"
#include "tests/testing/fake_engine.h"

namespace tessera::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr char kHealth[] = "GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n";
constexpr char kMetrics[] = "GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";

std::string Code(const std::string& answer) { return answer.substr(0, answer.find('\r')); }

int64_t ResidentKib() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word == "VmRSS:") break;
  }
  int64_t kib = 0;
  status >> kib;
  return kib;
}

// Metrics of a size, made in a time.
class SlowCollector : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    ++made;
    std::this_thread::sleep_for(time);
    MetricSet set;
    for (int i = 0; i < lines; ++i) {
      set.Gauge("tessera_test", "Lines.", i, {{"line", std::string(100, 'x') + std::to_string(i)}});
    }
    return set.Take();
  }

  milliseconds time{0};
  int lines = 0;
  mutable std::atomic<int> made = 0;
};

class HttpServerTest : public ::testing::Test {
 protected:
  void SetUp() override { slot_.Publish(&engine_, 1); }

  void StartServer() {
    auto server =
        HttpServer::Start({.host = "127.0.0.1", .port = 0}, slot_, {&collector_}, limits_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  RawClient Connect(const char* source = "127.0.0.1") const {
    RawClient client(server_->address(), source);
    client.Connect();
    return client;
  }

  // Of what it answers to `bytes` until it closes, the first line; "" for none.
  std::string Ask(const std::string& bytes) const {
    RawClient client = Connect();
    client.Send(bytes);
    return Code(client.ReadAnswer());
  }

  // Sends `begin`, and then `more` until it is refused or `most` bytes have gone.
  std::string Flood(const std::string& begin, const std::string& more, size_t most) const {
    RawClient client = Connect();
    bool open = client.Send(begin);
    for (size_t sent = 0; open && sent < most; sent += more.size()) open = client.Send(more);
    return Code(client.ReadAnswer());
  }

  // The slowest but one of 100 in which a new client gets health and metrics.
  milliseconds SlowestAnswer() const {
    std::vector<milliseconds> times;
    for (int i = 0; i < 100; ++i) {
      const auto start = steady_clock::now();
      EXPECT_EQ(Ask(i % 2 == 0 ? kHealth : kMetrics), "HTTP/1.1 200 OK");
      times.push_back(std::chrono::duration_cast<milliseconds>(steady_clock::now() - start));
    }
    std::ranges::sort(times);
    return times[98];
  }

  void ExpectAnswersInTime() {
    if (unattacked_ == milliseconds(-1)) unattacked_ = SlowestAnswer();
    EXPECT_LE(SlowestAnswer(), std::max(5 * unattacked_, milliseconds(250)));
  }

  std::string Metrics() const {
    RawClient client = Connect();
    client.Send(kMetrics);
    return client.ReadAnswer();
  }

  bool HasMetric(const std::string& line) const {
    return Metrics().find("\n" + line) != std::string::npos;
  }

  FakeEngine engine_;
  EngineSlot slot_;
  SlowCollector collector_;
  HttpLimits limits_;
  milliseconds unattacked_{-1};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, EndlessHeadsAndBodiesAreRefusedInLittleMemory) {
  limits_.linger = milliseconds(200);
  StartServer();
  EXPECT_EQ(Ask(kHealth), "HTTP/1.1 200 OK");
  const int64_t before = ResidentKib();
  constexpr size_t kMuch = 100 << 20;
  const std::string block(64 << 10, 'x');
  const std::string get = "GET /metrics HTTP/1.1\r\nHost: test\r\n";
  EXPECT_EQ(Flood(get, "X-Header: " + std::string(100, 'x') + "\r\n", kMuch),
            "HTTP/1.1 431 Request Header Fields Too Large");
  EXPECT_EQ(Flood(get + "X-Long: ", block, kMuch), "HTTP/1.1 431 Request Header Fields Too Large");
  EXPECT_EQ(Flood("GET /", block, kMuch), "HTTP/1.1 414 URI Too Long");
  EXPECT_EQ(Flood("", block, kMuch), "HTTP/1.1 414 URI Too Long");
  const std::string chunk = "10000\r\n" + block + "\r\n";
  EXPECT_EQ(Flood(get + "Transfer-Encoding: chunked\r\n\r\n", chunk, kMuch),
            "HTTP/1.1 413 Payload Too Large");
  EXPECT_EQ(Flood(get + "Content-Length: 104857600\r\n\r\n", block, kMuch),
            "HTTP/1.1 413 Payload Too Large");
  EXPECT_EQ(Flood("POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", chunk, kMuch),
            "HTTP/1.1 405 Method Not Allowed");
  EXPECT_LT(ResidentKib() - before, 16 << 10);
  ExpectAnswersInTime();
}

TEST_F(HttpServerTest, ManySmallHeadersAreRefused) {
  StartServer();
  std::string headers;
  for (int i = 0; i < 100'000; ++i) headers += "a:\r\n";
  const std::string get = "GET /healthz HTTP/1.1\r\n";
  EXPECT_EQ(Ask(get + headers + "\r\n"), "HTTP/1.1 431 Request Header Fields Too Large");
  EXPECT_EQ(Ask(get + headers.substr(0, 4 * 65) + "\r\n"),
            "HTTP/1.1 431 Request Header Fields Too Large");
  EXPECT_EQ(Ask(get + headers.substr(0, 4 * 64) + "\r\n"), "HTTP/1.1 200 OK");
}

TEST_F(HttpServerTest, RangesAreIgnored) {
  StartServer();
  std::string ranges = "Range: bytes=0-";
  while (ranges.size() < 8000) ranges += ",0-";
  RawClient client = Connect();
  client.Send("GET /healthz HTTP/1.1\r\n" + ranges + "\r\n\r\n");
  const std::string answer = client.ReadAnswer();
  EXPECT_EQ(Code(answer), "HTTP/1.1 200 OK");
  EXPECT_TRUE(answer.ends_with("\r\n\r\nalive\n")) << answer;
}

TEST_F(HttpServerTest, DribblersDelayNobodyAndEndAfterTheirTime) {
  limits_.whole_head = milliseconds(1500);
  StartServer();
  std::vector<RawClient> dribblers;
  for (int i = 0; i < 40; ++i) dribblers.push_back(Connect());
  std::thread dribble([&] {
    for (const char byte : std::string(kHealth).substr(0, 12)) {
      for (const RawClient& client : dribblers) client.Send(std::string(1, byte));
      std::this_thread::sleep_for(milliseconds(100));
    }
  });
  ExpectAnswersInTime();
  dribble.join();
  for (RawClient& client : dribblers) {
    EXPECT_EQ(Code(client.ReadAnswer()), "HTTP/1.1 408 Request Timeout");
  }
}

TEST_F(HttpServerTest, ASilenceInsideAHeadEndsIt) {
  limits_.between_bytes = milliseconds(100);
  StartServer();
  const auto start = steady_clock::now();
  EXPECT_EQ(Ask("GET /heal"), "HTTP/1.1 408 Request Timeout");
  EXPECT_LT(steady_clock::now() - start, limits_.whole_head);
}

TEST_F(HttpServerTest, IdleConnectionsDelayNobodyAndAreClosed) {
  limits_.first_byte = milliseconds(500);
  limits_.idle = milliseconds(500);
  StartServer();
  std::vector<RawClient> idle;
  for (int i = 0; i < 40; ++i) idle.push_back(Connect());
  for (int i = 0; i < 20; ++i) {
    idle[i].Send(kHealth);
    EXPECT_EQ(Code(idle[i].ReadAnswer()), "HTTP/1.1 200 OK");
  }
  ExpectAnswersInTime();
  for (RawClient& client : idle) EXPECT_EQ(client.ReadAll(), "");
  EXPECT_TRUE(HasMetric("tessera_http_connections_open 1\n")) << "the scrape's own";
}

TEST_F(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  StartServer();
  RawClient client = Connect();
  std::string requests;
  for (int i = 0; i < 200; ++i) {
    requests += i % 3 == 0   ? kHealth
                : i % 3 == 1 ? kMetrics
                             : "GET /none HTTP/1.1\r\nHost: test\r\n\r\n";
  }
  client.Send(requests + "GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n");
  for (int i = 0; i < 200; ++i) {
    const std::string answer = client.ReadAnswer();
    ASSERT_EQ(Code(answer), i % 3 == 2 ? "HTTP/1.1 404 Not Found" : "HTTP/1.1 200 OK") << i;
    ASSERT_EQ(answer.ends_with("\r\n\r\nalive\n"), i % 3 == 0) << i;
  }
  EXPECT_TRUE(client.ReadAll().ends_with("\r\n\r\nready\n"));
}

TEST_F(HttpServerTest, HeadGetsWhatGetGetsWithoutTheBody) {
  StartServer();
  RawClient client = Connect();
  client.Send("HEAD /healthz HTTP/1.1\r\nHost: test\r\n\r\n");
  const std::string head = client.ReadAnswer(false);
  EXPECT_EQ(Code(head), "HTTP/1.1 200 OK");
  EXPECT_NE(head.find("\r\nContent-Length: 6\r\n"), std::string::npos) << head;
  client.Send("HEAD /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
  EXPECT_NE(client.ReadAnswer(false).find("\r\nContent-Type: text/plain; version=0.0.4; "
                                          "charset=utf-8\r\n"),
            std::string::npos);
  client.Send("HEAD /none HTTP/1.1\r\nHost: test\r\n\r\n");
  EXPECT_EQ(Code(client.ReadAnswer(false)), "HTTP/1.1 404 Not Found");
  client.Send(kHealth);
  EXPECT_TRUE(client.ReadAnswer().ends_with("\r\n\r\nalive\n")) << "the same connection serves on";
}

TEST_F(HttpServerTest, OtherMethodsPathsVersionsAndBytesAreRefused) {
  StartServer();
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "FOO"}) {
    RawClient client = Connect();
    client.Send(std::string(method) + " /metrics HTTP/1.1\r\nHost: test\r\n\r\n" + kHealth);
    const std::string answer = client.ReadAnswer();
    EXPECT_EQ(Code(answer), "HTTP/1.1 405 Method Not Allowed");
    EXPECT_NE(answer.find("\r\nAllow: GET, HEAD\r\n"), std::string::npos) << answer;
    EXPECT_EQ(Code(client.ReadAnswer()), "HTTP/1.1 200 OK");
  }
  EXPECT_EQ(Ask("GET /healthz/ HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
  EXPECT_EQ(Ask("GET /healthz?probe=1 HTTP/1.0\r\n\r\n"), "HTTP/1.1 200 OK");
  EXPECT_EQ(Ask("GET /healthz HTTP/2.0\r\n\r\n"), "HTTP/1.1 505 HTTP Version Not Supported");
  for (const std::string& bytes :
       {std::string("\r\n\r\n"), std::string("GET\r\n\r\n"), std::string("GET /healthz\n\n"),
        std::string("GET /healthz HTTP/1.1\r\nno colon\r\n\r\n"),
        std::string("GET /healthz HTTP/1.1\r\nA\0: b\r\n\r\n", 32),
        std::string("GET /healthz HTTP/1.1\r\nContent-Length: -1\r\n\r\n"),
        std::string("GET /healthz HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")}) {
    EXPECT_EQ(Ask(bytes), "HTTP/1.1 400 Bad Request") << bytes;
  }
  EXPECT_TRUE(HasMetric("tessera_http_requests_total{code=\"400\"} 7\n"));
}

TEST_F(HttpServerTest, ANewClientIsServedWhenAllConnectionsAreTaken) {
  limits_.connections = 20;
  limits_.connections_per_address = 10;
  StartServer();
  std::vector<RawClient> held;
  for (int i = 0; i < 15; ++i) held.push_back(Connect("127.0.0.2"));
  EXPECT_TRUE(HasMetric("tessera_http_connections_open 11\n"));
  EXPECT_TRUE(HasMetric("tessera_http_connections_refused_total{cause=\"address\"} 5\n"));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(held[i].ReadAll(), "") << "the oldest have gone";
  held[14].Send(kHealth);
  EXPECT_EQ(Code(held[14].ReadAnswer()), "HTTP/1.1 200 OK");
  for (int i = 0; i < 15; ++i) held.push_back(Connect("127.0.0.3"));
  EXPECT_EQ(Ask(kHealth), "HTTP/1.1 200 OK");
  // One has made room for the scrape in vain where whoever was answered before was still counted.
  EXPECT_TRUE(HasMetric("tessera_http_connections_open 20\n") ||
              HasMetric("tessera_http_connections_open 19\n"));
  EXPECT_FALSE(HasMetric("tessera_http_connections_refused_total{cause=\"total\"} 0\n"));
}

TEST_F(HttpServerTest, OutOfDescriptorsItRefusesAndGoesOn) {
  StartServer();
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit low{.rlim_cur = 200, .rlim_max = limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  std::vector<RawClient> clients;
  for (int i = 0; i < 20; ++i) clients.emplace_back(server_->address());
  std::vector<int> taken;
  for (int fd = 0; (fd = open("/dev/null", O_RDONLY)) >= 0;) taken.push_back(fd);
  for (RawClient& client : clients) client.Connect();
  for (RawClient& client : clients) EXPECT_EQ(client.ReadAll(), "");
  for (const int fd : taken) close(fd);
  setrlimit(RLIMIT_NOFILE, &limit);
  EXPECT_EQ(Ask(kHealth), "HTTP/1.1 200 OK");
  EXPECT_TRUE(HasMetric("tessera_http_connections_refused_total{cause=\"descriptors\"} 20\n"));
}

TEST_F(HttpServerTest, WhoDoesNotReadHoldsLittleAndNotForLong) {
  limits_.write = milliseconds(1000);
  collector_.lines = 50'000;  // about 6 MB: more than a socket takes
  StartServer();
  const size_t whole = Metrics().size();
  const int64_t before = ResidentKib();
  std::vector<RawClient> slow;
  for (int i = 0; i < 60; ++i) {
    slow.emplace_back(server_->address());
    slow.back().TakeLittle().Connect().Send(kMetrics);
  }
  for (int i = 0; i < 50; ++i) EXPECT_EQ(Ask(kHealth), "HTTP/1.1 200 OK");
  EXPECT_LT(ResidentKib() - before, 128 << 10);
  std::this_thread::sleep_for(2 * limits_.write);
  for (int i = 0; i < 60; i += 20) EXPECT_LT(slow[i].ReadAll().size(), whole);
}

TEST_F(HttpServerTest, PollingMetricsMakesFewOfThem) {
  collector_.time = milliseconds(20);
  StartServer();
  const auto end = steady_clock::now() + milliseconds(1500);
  std::vector<std::thread> pollers;
  for (int i = 0; i < 4; ++i) {
    pollers.emplace_back([&] {
      RawClient client = Connect();
      while (steady_clock::now() < end) {
        client.Send(kMetrics);
        EXPECT_EQ(Code(client.ReadAnswer()), "HTTP/1.1 200 OK");
      }
    });
  }
  for (std::thread& poller : pollers) poller.join();
  EXPECT_LE(collector_.made, 40) << "half a second of them, and a twentieth of the time";
}

TEST_F(HttpServerTest, MetricsDoNotDelayHealth) {
  collector_.time = milliseconds(400);
  StartServer();
  RawClient scraper = Connect();
  scraper.Send(kMetrics);
  const auto start = steady_clock::now();
  EXPECT_EQ(Ask(kHealth), "HTTP/1.1 200 OK");
  EXPECT_LT(steady_clock::now() - start, collector_.time);
  EXPECT_EQ(Code(scraper.ReadAnswer()), "HTTP/1.1 200 OK");
}

TEST_F(HttpServerTest, ClosesWithConnectionsInEveryStage) {
  collector_.lines = 40'000;
  StartServer();
  std::vector<RawClient> clients;
  for (const std::string& bytes : {std::string(), std::string("GET /hea"), std::string(kHealth),
                                   std::string(kMetrics), std::string("nonsense\r\n\r\n")}) {
    for (int i = 0; i < 5; ++i) {
      clients.push_back(Connect());
      clients.back().Send(bytes);
    }
  }
  const auto start = steady_clock::now();
  server_.reset();
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(2));
  for (const RawClient& client : clients) client.ReadAll();
}

}  // namespace
}  // namespace tessera::testing
