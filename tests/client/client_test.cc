// The client library against a fake server: errors with their details, retries, cancels, deadlines,
// health.
#include "client/client.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <thread>

#include "client/answer.h"
#include "client/call_status.h"
#include "tests/client/fake_server.h"

namespace tessera {
namespace {

using testing::FakeServer;
using testing::Script;

class ClientTest : public ::testing::Test {
 protected:
  FakeServer server_;
  std::unique_ptr<Client> client_ = *Client::Connect(server_.address());
};

TEST_F(ClientTest, GeneratesAtOnceAndAsAStreamAlike) {
  v1::GenerateRequest request;
  request.set_request_id("mine");
  const absl::StatusOr<v1::GenerateResponse> whole = client_->Generate(request);
  ASSERT_TRUE(whole.ok()) << whole.status();
  Answer answer;
  const absl::Status status = client_->StreamGenerate(
      request, {},
      [&](const v1::StreamGenerateResponse& event) { EXPECT_TRUE(answer.Add(event).ok()); });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(answer.response().SerializeAsString(), whole->SerializeAsString());
  EXPECT_EQ(whole->text(), "Hello, world");
  EXPECT_EQ(whole->request_id(), "mine");
}

TEST_F(ClientTest, StartedStreamCallsBack) {
  std::promise<absl::Status> done;
  Answer answer;
  client_->StartStreamGenerate(
      {}, {}, [&](const v1::StreamGenerateResponse& event) { EXPECT_TRUE(answer.Add(event).ok()); },
      [&](const absl::Status& status) { done.set_value(status); });
  const absl::Status status = done.get_future().get();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(answer.response().text(), "Hello, world");
}

TEST(ClientLifetime, EndsWhileTheLastCallbackRuns) {
  FakeServer server;
  std::unique_ptr<Client> client = *Client::Connect(server.address());
  std::promise<void> done;
  client->StartStreamGenerate(
      {}, {}, [](const auto&) {},
      [&](const absl::Status&) {
        done.set_value();
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      });
  done.get_future().wait();
  client.reset();
}

TEST_F(ClientTest, ErrorsCarryTheirDetails) {
  server_.Follow({.error_code = 8,
                  .error_message = "too many wait",
                  .error_reason = "QUEUE_FULL",
                  .error_field = "sampling.top_p",
                  .retry_after_s = 1.5});
  for (const absl::Status& status :
       {client_->Generate({}).status(), client_->StreamGenerate({}, {}, [](const auto&) {})}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(status.message(), "too many wait");
    const ErrorDetails details = DetailsOf(status);
    EXPECT_EQ(details.reason, "QUEUE_FULL");
    EXPECT_EQ(details.field, "sampling.top_p");
    EXPECT_EQ(details.retry_after, absl::Seconds(1.5));
  }
}

TEST_F(ClientTest, ErrorAfterTheFirstDeltaEndsTheStream) {
  server_.Follow({.error_code = 14, .fail_first = false, .error_message = "going down"});
  std::string text;
  const absl::Status status = client_->StreamGenerate(
      {}, {}, [&](const v1::StreamGenerateResponse& event) { text += event.delta().text(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(text, "Hello, world");
  // It had begun to answer, so it was not tried again.
  EXPECT_EQ(server_.requests().size(), 1u);
}

TEST_F(ClientTest, TriesAgainBeforeTheFirstAnswer) {
  server_.Follow({.unavailable_calls = 2});
  v1::GenerateRequest request;
  // Larger than gRPC's default buffer for retries.
  request.mutable_raw_prompt()->add_images()->set_data(std::string(1 << 20, 'x'));
  const absl::StatusOr<v1::GenerateResponse> answer = client_->Generate(request);
  EXPECT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(server_.requests().size(), 3u);
}

TEST_F(ClientTest, DoesNotTryAgainWhenToldSo) {
  server_.Follow({.unavailable_calls = 1});
  const auto once = Client::Connect(server_.address(), {.max_attempts = 1});
  EXPECT_EQ((*once)->Generate({}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server_.requests().size(), 1u);
}

TEST_F(ClientTest, StopTokenCancels) {
  server_.Follow(
      {.deltas = std::vector<std::string>(1000, "x"), .pace = std::chrono::milliseconds(5)});
  std::stop_source stop;
  int events = 0;
  const auto start = std::chrono::steady_clock::now();
  const absl::Status status = client_->StreamGenerate({}, {.stop = stop.get_token()},
                                                      [&](const v1::StreamGenerateResponse&) {
                                                        if (++events == 3) stop.request_stop();
                                                      });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  EXPECT_TRUE(server_.WaitForCancelled(1));
}

TEST_F(ClientTest, StoppedBeforehandNeverReachesTheServer) {
  std::stop_source stop;
  stop.request_stop();
  const CallOptions options{.stop = stop.get_token()};
  EXPECT_EQ(client_->Generate({}, options).status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(server_.requests().empty());
}

TEST_F(ClientTest, DeadlineEndsTheCall) {
  server_.Follow(
      {.deltas = std::vector<std::string>(1000, "x"), .pace = std::chrono::milliseconds(5)});
  const absl::Status status =
      client_->StreamGenerate({}, {.timeout = absl::Milliseconds(100)}, [](const auto&) {});
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ClientTest, CountsTokensAndNamesModels) {
  EXPECT_EQ(client_->CountTokens({})->image_tokens(), 576);
  EXPECT_EQ(client_->GetModel("")->name(), "fake");
  EXPECT_EQ(client_->ListModels()->models_size(), 1);
}

TEST_F(ClientTest, AsksForHealth) {
  EXPECT_EQ(*client_->Health(""), ServingStatus::kServing);
  server_.SetServing(false);
  EXPECT_EQ(*client_->Health(""), ServingStatus::kNotServing);
  EXPECT_EQ(client_->Health("nobody").status().code(), absl::StatusCode::kNotFound);
}

TEST(Connect, RefusesWhatCannotBeAnAddress) {
  for (const char* address : {"", "localhost", ":50051", "localhost:"}) {
    EXPECT_EQ(Client::Connect(address).status().code(), absl::StatusCode::kInvalidArgument)
        << address;
  }
  EXPECT_FALSE(Client::Connect("localhost:1", {.max_attempts = 0}).ok());
}

TEST(CallStatus, SurvivesDetailsThatDoNotParse) {
  const absl::Status status = CallStatus(3, "bad", "\xff\xff garbage");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DetailsOf(status).reason, "");
  EXPECT_FALSE(DetailsOf(status).retry_after.has_value());
}

}  // namespace
}  // namespace tessera
