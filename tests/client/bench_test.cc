// The load generator: its series of requests, and `tessera bench` against the fake server.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "client/bench_workload.h"
#include "client/json.h"
#include "tests/client/command_line.h"
#include "tests/client/fake_server.h"

namespace tessera {
namespace {

using testing::CommandResult;
using testing::FakeServer;
using testing::RunCommand;
using testing::RunningCommand;
using testing::Script;

TEST(Workload, IsRepeatable) {
  WorkloadOptions options;
  options.cancel_share = 0.3;
  options.deadline_share = 0.3;
  Workload first(options);
  Workload second(options);
  options.seed = 1;
  Workload other(options);
  int differences = 0;
  for (int i = 0; i < 50; ++i) {
    const PlannedRequest a = first.Next();
    const PlannedRequest b = second.Next();
    EXPECT_EQ(a.request.SerializeAsString(), b.request.SerializeAsString());
    EXPECT_EQ(a.cancel_after_events, b.cancel_after_events);
    EXPECT_EQ(a.deadline, b.deadline);
    EXPECT_EQ(a.gap, b.gap);
    differences += a.request.SerializeAsString() != other.Next().request.SerializeAsString();
  }
  EXPECT_EQ(differences, 50);
}

TEST(Workload, KeepsShares) {
  WorkloadOptions options;
  options.images.resize(2);
  options.images[0].set_data("a");
  options.images[1].set_data("b");
  options.image_share = 0.25;
  options.cancel_share = 0.1;
  options.deadline_share = 0.2;
  Workload workload(options);
  constexpr int kRequests = 4000;
  int images = 0, second = 0, cancels = 0, deadlines = 0;
  double gaps = 0;
  for (int i = 0; i < kRequests; ++i) {
    const PlannedRequest planned = workload.Next();
    const v1::Part& part = planned.request.conversation().messages(0).parts(0);
    images += part.has_image();
    second += part.image().data() == "b";
    cancels += planned.cancel_after_events.has_value();
    deadlines += planned.deadline.has_value();
    gaps += planned.gap;
    EXPECT_FALSE(planned.cancel_after_events && planned.deadline);
    if (planned.deadline) {
      EXPECT_LE(*planned.deadline, options.longest_deadline + absl::Milliseconds(1));
    }
  }
  EXPECT_NEAR(images, 0.25 * kRequests, 120);
  EXPECT_NEAR(second, 0.125 * kRequests, 90);
  EXPECT_NEAR(cancels, 0.1 * kRequests, 90);
  EXPECT_NEAR(deadlines, 0.2 * kRequests, 110);
  EXPECT_NEAR(gaps / kRequests, 1, 0.06);
}

TEST(BenchCommand, ClosedLoop) {
  FakeServer server;
  server.Follow({.pace = std::chrono::milliseconds(10)});
  const CommandResult result =
      RunCommand({"bench", "--address", server.address(), "--requests", "20", "--concurrency", "4",
                  "--warmup", "2", "--goodput", "ttft:5000", "--json", "-"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(server.requests().size(), 22u);
  const Json json = Json::parse(result.out);
  EXPECT_EQ(json["num_prompts"], 20);
  EXPECT_EQ(json["completed"], 20);
  EXPECT_EQ(json["statuses"], Json({{"OK", 20}}));
  EXPECT_EQ(json["total_output_tokens"], 40);
  EXPECT_LE(json["max_concurrent_requests"], 4);
  EXPECT_GE(json["mean_ttft_ms"], 9);
  EXPECT_GE(json["p50_itl_ms"], 9);
  EXPECT_NEAR(json["goodput"].get<double>(), json["request_throughput"].get<double>(), 1e-9);
}

TEST(BenchCommand, OpenLoopDoesNotWaitForAnswers) {
  FakeServer server;
  server.Follow({.pace = std::chrono::milliseconds(150)});
  const CommandResult result = RunCommand(
      {"bench", "--address", server.address(), "--requests", "30", "--rate", "200", "--json", "-"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_GT(Json::parse(result.out)["max_concurrent_requests"], 8);
}

TEST(BenchCommand, IsGreedyUnlessTold) {
  FakeServer server;
  ASSERT_EQ(RunCommand({"bench", "--address", server.address(), "--requests", "1"}).exit_code, 0);
  ASSERT_EQ(RunCommand(
                {"bench", "--address", server.address(), "--requests", "1", "--temperature", "0.5"})
                .exit_code,
            0);
  const std::vector<v1::GenerateRequest> requests = server.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_TRUE(requests[0].sampling().has_temperature());
  EXPECT_EQ(requests[0].sampling().temperature(), 0);
  EXPECT_EQ(requests[1].sampling().temperature(), 0.5f);
}

TEST(BenchCommand, CancelsAndDeadlinesEndEveryRequestOnce) {
  FakeServer server;
  server.Follow(
      {.deltas = std::vector<std::string>(8, "x"), .pace = std::chrono::milliseconds(15)});
  const CommandResult result = RunCommand(
      {"bench", "--address", server.address(), "--requests", "80", "--concurrency", "16",
       "--max-tokens", "8", "--cancel-share", "0.4", "--deadline-share", "0.4", "--json", "-"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = Json::parse(result.out);
  EXPECT_GT(json["statuses"]["CANCELLED"], 10);
  EXPECT_GT(json["statuses"]["OK"], 10);
  EXPECT_EQ(json["lost"], 0);
  EXPECT_EQ(json["out_of_order"], 0);
  int ended = 0;
  for (const auto& [status, count] : json["statuses"].items()) ended += count.get<int>();
  EXPECT_EQ(ended, 80);
}

TEST(BenchCommand, FailsOnStreamsWithoutFinish) {
  FakeServer server;
  server.Follow({.omit_finish = true});
  const CommandResult result =
      RunCommand({"bench", "--address", server.address(), "--requests", "3"});
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_NE(result.out.find("3 OUT OF ORDER"), std::string::npos) << result.out;
}

TEST(BenchCommand, StopsAfterItsDuration) {
  FakeServer server;
  server.Follow({.pace = std::chrono::milliseconds(20)});
  const CommandResult result =
      RunCommand({"bench", "--address", server.address(), "--duration", "300ms", "--json", "-"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_LT(Json::parse(result.out)["duration"], 2);
  EXPECT_GT(Json::parse(result.out)["completed"], 8);
}

TEST(BenchCommand, ReportsWhatItHasWhenInterrupted) {
  FakeServer server;
  server.Follow(
      {.deltas = std::vector<std::string>(1000, "x"), .pace = std::chrono::milliseconds(20)});
  RunningCommand command({"bench", "--address", server.address(), "--json", "-"},
                         RunningCommand::Kind::kPipes);
  while (server.requests().size() < 8) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  command.Signal(SIGINT);
  EXPECT_NE(command.ReadUntil("\"CANCELLED\": 8").find("\"CANCELLED\": 8"), std::string::npos);
  EXPECT_EQ(command.Wait(), 130);
}

TEST(BenchCommand, ExitCodeTellsWhyNothingCompleted) {
  FakeServer server;
  server.Follow({.error_code = 8, .error_message = "queue full"});
  EXPECT_EQ(RunCommand({"bench", "--address", server.address(), "--requests", "3"}).exit_code, 4);
  EXPECT_EQ(RunCommand({"bench", "--address", "127.0.0.1:1", "--requests", "3"}).exit_code, 3);
  EXPECT_EQ(RunCommand({"bench", "--goodput", "fast"}).exit_code, 2);
  EXPECT_EQ(RunCommand({"bench", "--image-share", "2"}).exit_code, 2);
}

}  // namespace
}  // namespace tessera
