// StreamGenerate over TCP: order of events, cancellation, slow readers.
#include <chrono>
#include <thread>
#include <vector>

#include "engine/base/status.h"
#include "tests/server/http2_client.h"
#include "tests/server/server_fixture.h"

namespace tessera::testing {
namespace {

class GenerateStreamTest : public ServerFixture {
 protected:
  void SetUp() override { StartServer(); }

  // A client whose transport takes little that has not been read.
  std::unique_ptr<v1::GenerationService::Stub> NarrowStub() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 16 << 10);
    return v1::GenerationService::NewStub(grpc::CreateCustomChannel(
        server_->grpc_address(), grpc::InsecureChannelCredentials(), arguments));
  }

  // Reads to the end; deltas joined.
  grpc::Status ReadAll(grpc::ClientReader<v1::StreamGenerateResponse>& reader) {
    v1::StreamGenerateResponse response;
    while (reader.Read(&response)) {
      events_.push_back(response.event_case());
      text_ += response.delta().text();
      ids_.insert(ids_.end(), response.delta().token_ids().begin(),
                  response.delta().token_ids().end());
      if (response.has_prompt()) prompt_ = response.prompt();
      if (response.has_finish()) finish_ = response.finish();
    }
    return reader.Finish();
  }

  std::vector<v1::StreamGenerateResponse::EventCase> events_;
  std::string text_;
  std::vector<int32_t> ids_;
  v1::PromptEvent prompt_;
  v1::FinishEvent finish_;
};

// `count` chunks of 64 bytes of text each.
Script Lines(int count) {
  Script script;
  for (int i = 0; i < count; ++i) {
    Chunk chunk;
    chunk.text = std::to_string(i) + std::string(59, '.') + "\n";
    chunk.text.resize(64, '.');
    chunk.token_ids = {i};
    script.chunks.push_back(chunk);
  }
  return script;
}

TEST_F(GenerateStreamTest, JoinedDeltasAreTheUnaryAnswer) {
  engine_->SetScript(Spell("the quick brown fox"));
  v1::GenerateResponse whole;
  grpc::ClientContext unary_context;
  ASSERT_TRUE(generation_->Generate(&unary_context, Question(), &whole).ok());

  grpc::ClientContext context;
  v1::GenerateRequest request = Question();
  request.set_request_id("abc");
  const auto reader = generation_->StreamGenerate(&context, request);
  ASSERT_TRUE(ReadAll(*reader).ok());
  EXPECT_EQ(text_, whole.text());
  EXPECT_EQ(ids_, std::vector<int32_t>(whole.token_ids().begin(), whole.token_ids().end()));
  ASSERT_GE(events_.size(), 3u);
  EXPECT_EQ(events_.front(), v1::StreamGenerateResponse::kPrompt);
  EXPECT_EQ(events_.back(), v1::StreamGenerateResponse::kFinish);
  EXPECT_EQ(prompt_.request_id(), "abc");
  EXPECT_EQ(prompt_.model(), "fake");
  EXPECT_EQ(prompt_.image_tokens(), 4);
  EXPECT_EQ(finish_.finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(finish_.usage().generated_tokens(), whole.usage().generated_tokens());
}

TEST_F(GenerateStreamTest, BringsDeltasAsTheyAreMade) {
  engine_->SetScript(SpellAndStay("ab"));
  grpc::ClientContext context;
  const auto reader = generation_->StreamGenerate(&context, Question());
  std::string text;
  v1::StreamGenerateResponse response;
  while (text != "ab" && reader->Read(&response)) text += response.delta().text();
  EXPECT_EQ(text, "ab") << "though the engine has not finished";
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
}

TEST_F(GenerateStreamTest, CancelsMidStream) {
  Script script = Lines(100'000);
  script.between_chunks = std::chrono::milliseconds(1);
  engine_->SetScript(script);
  grpc::ClientContext context;
  const auto reader = generation_->StreamGenerate(&context, Question());
  v1::StreamGenerateResponse response;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(reader->Read(&response));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  EXPECT_TRUE(engine_->WaitForFinish(FinishReason::kCancelled));
  EXPECT_EQ(engine_->cancels(), 1u);
}

TEST_F(GenerateStreamTest, CancelsBeforeTheFirstToken) {
  Script script = Spell("never");
  script.before_prompt = std::chrono::hours(1);
  engine_->SetScript(script);
  grpc::ClientContext context;
  const auto reader = generation_->StreamGenerate(&context, Question());
  ASSERT_TRUE(engine_->WaitForRequests(1));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  EXPECT_TRUE(engine_->WaitForFinish(FinishReason::kCancelled));
}

TEST_F(GenerateStreamTest, CancelsWhenTheClientVanishes) {
  engine_->SetScript(SpellAndStay("a"));
  {
    grpc::ClientContext context;
    const auto reader = generation_->StreamGenerate(&context, Question());
    v1::StreamGenerateResponse response;
    ASSERT_TRUE(reader->Read(&response));
    generation_.reset();
    models_.reset();
    channel_.reset();
    context.TryCancel();
  }
  EXPECT_TRUE(engine_->WaitForFinish(FinishReason::kCancelled));
}

TEST_F(GenerateStreamTest, EndsAtTheDeadline) {
  engine_->SetScript(SpellAndStay("ab"));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  const auto reader = generation_->StreamGenerate(&context, Question());
  EXPECT_EQ(ReadAll(*reader).error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_EQ(text_, "ab");
  EXPECT_TRUE(engine_->WaitForFinish(FinishReason::kDeadline));
}

TEST_F(GenerateStreamTest, TellsAFailureAfterTheDeltas) {
  Script script = Spell("half");
  script.completion.status =
      RequestError(absl::StatusCode::kUnavailable, ErrorReason::kShutdownAborted, "", "stopped");
  engine_->SetScript(script);
  grpc::ClientContext context;
  const auto reader = generation_->StreamGenerate(&context, Question());
  const grpc::Status status = ReadAll(*reader);
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(Reason(status), "tessera.v1/SHUTDOWN_ABORTED");
  EXPECT_EQ(text_, "half");
}

TEST_F(GenerateStreamTest, SendsNothingBeforeAdmission) {
  engine_->SetRefusal(
      RequestError(absl::StatusCode::kResourceExhausted, ErrorReason::kQueueFull, "", "full"));
  // A client that retries by itself does so only while it has seen nothing of the answer.
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(R"({"methodConfig": [{"name": [{}], "retryPolicy": {
      "maxAttempts": 2, "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1,
      "retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]})");
  const auto stub = v1::GenerationService::NewStub(grpc::CreateCustomChannel(
      server_->grpc_address(), grpc::InsecureChannelCredentials(), arguments));
  std::thread opener([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    engine_->SetRefusal(absl::OkStatus());
  });
  const auto start = std::chrono::steady_clock::now();
  grpc::ClientContext context;
  const auto reader = stub->StreamGenerate(&context, Question());
  EXPECT_TRUE(ReadAll(*reader).ok());
  opener.join();
  EXPECT_EQ(text_, "hello");
  EXPECT_GT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(800))
      << "the server's grpc-retry-pushback-ms of 1000 was not heeded";
}

TEST_F(GenerateStreamTest, ASlowReaderGetsEverythingInFewerDeltas) {
  constexpr int kChunks = 12'000;  // 768 KB
  const Script script = Lines(kChunks);
  engine_->SetScript(script);
  grpc::ClientContext context;
  const auto stub = NarrowStub();
  const auto reader = stub->StreamGenerate(&context, Question());
  ASSERT_TRUE(engine_->WaitForFinish(FinishReason::kStop)) << "the engine waits for the reader";
  EXPECT_LT(engine_->longest_call().count(), 1.0);
  ASSERT_TRUE(ReadAll(*reader).ok());
  std::string expected;
  for (const Chunk& chunk : script.chunks) expected += chunk.text;
  EXPECT_EQ(text_, expected);
  EXPECT_EQ(ids_.size(), static_cast<size_t>(kChunks));
  EXPECT_LT(events_.size(), static_cast<size_t>(kChunks) / 2);
}

TEST_F(GenerateStreamTest, GivesUpAReaderTooSlowForItsLogprobs) {
  Script script = Lines(10'000);
  for (Chunk& chunk : script.chunks) {
    const TokenLogprob logprob{.id = 1, .bytes = "token", .logprob = -1};
    chunk.logprobs = {logprob};
    chunk.top_logprobs = {std::vector<TokenLogprob>(20, logprob)};
  }
  script.stay = true;  // ends only by being cancelled
  engine_->SetScript(script);
  grpc::ClientContext context;
  const auto stub = NarrowStub();
  const auto reader = stub->StreamGenerate(&context, Question());
  ASSERT_TRUE(engine_->WaitForFinish(FinishReason::kCancelled));
  const grpc::Status status = ReadAll(*reader);
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Reason(status), "tessera.v1/SLOW_READER");
}

// So near the deadline it is told as one; the engine hears of it all the same, and at once: its own
// look at the deadline would come later.
TEST_F(GenerateStreamTest, ACancelInTheLastHundredthOfADeadlineReachesTheEngine) {
  constexpr std::chrono::milliseconds kDeadline(12'000);
  Script script = Lines(1);
  script.stay = true;  // ends only by being cancelled
  engine_->SetScript(script);
  grpc::ClientContext context;
  const auto deadline = std::chrono::system_clock::now() + kDeadline;
  context.set_deadline(deadline);
  const auto reader = generation_->StreamGenerate(&context, Question());
  v1::StreamGenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  std::this_thread::sleep_until(deadline - std::chrono::milliseconds(130));
  context.TryCancel();
  if (std::chrono::system_clock::now() > deadline - std::chrono::milliseconds(100)) {
    GTEST_SKIP() << "the machine is too busy to cancel in time";
  }
  EXPECT_TRUE(engine_->WaitForFinish(FinishReason::kDeadline));
  EXPECT_LT(std::chrono::system_clock::now(), deadline);
  reader->Finish();
}

// Whose answers never leave: one that is being made, and one that is complete.
class UnreadAnswerTest : public ServerFixture {
 protected:
  void SetUp() override { StartServer({.write_time = std::chrono::milliseconds(300)}); }

  uint32_t Ask(Http2Client& client, const std::string& method) {
    const std::string message = Question().SerializeAsString();
    const uint32_t stream = client.Call("/tessera.v1.GenerationService/" + method);
    const std::string bytes =
        Http2Client::MessageHead(static_cast<uint32_t>(message.size())) + message;
    client.Send(stream, bytes, std::chrono::seconds(1));
    return stream;
  }
  double Abandoned() { return Metric("tessera_grpc_server_abandoned_calls_total"); }
};

TEST_F(UnreadAnswerTest, OneThatIsBeingMadeIsGivenUp) {
  Script script = Lines(10);
  script.stay = true;  // ends only by being cancelled
  engine_->SetScript(script);
  Http2Client client(server_->grpc_address(), /*answer_window=*/0);
  const uint32_t stream = Ask(client, "StreamGenerate");
  EXPECT_TRUE(engine_->WaitForFinish(FinishReason::kCancelled));
  EXPECT_TRUE(client.WaitForEnd(stream, std::chrono::seconds(5)));
  EXPECT_TRUE(client.connected()) << "the connection's other calls go on";
  EXPECT_EQ(Abandoned(), 1);
  EXPECT_EQ(Metric("tessera_grpc_server_errors_total{reason=\"SLOW_READER\"}"), 1);
}

TEST_F(UnreadAnswerTest, OneThatIsCompleteIsGivenUp) {
  engine_->SetScript(Lines(10));
  Http2Client client(server_->grpc_address(), /*answer_window=*/0);
  for (const char* method : {"Generate", "CountTokens", "StreamGenerate"}) {
    EXPECT_TRUE(client.WaitForEnd(Ask(client, method), std::chrono::seconds(5))) << method;
  }
  EXPECT_EQ(Abandoned(), 3);
  EXPECT_EQ(Metric("tessera_request_memory_bytes{model_name=\"fake\",use=\"answers\"}"), 0);
}

TEST_F(GenerateStreamTest, ManyStreamsAtOnce) {
  engine_->SetScript(Lines(200));
  std::vector<std::thread> clients;
  std::atomic<int> complete = 0;
  for (int i = 0; i < 32; ++i) {
    clients.emplace_back([this, &complete, i] {
      grpc::ClientContext context;
      const auto reader = generation_->StreamGenerate(&context, Question());
      v1::StreamGenerateResponse response;
      int tokens = 0;
      while (reader->Read(&response)) {
        tokens += response.delta().token_ids_size();
        if (i % 4 == 0 && tokens > 20) context.TryCancel();
      }
      const grpc::Status status = reader->Finish();
      if (status.ok() && tokens == 200) ++complete;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_GE(complete.load(), 24);
}

}  // namespace
}  // namespace tessera::testing
