// Generate and CountTokens over TCP: answers, errors with their details, and what may never reach
// the engine.
#include <chrono>
#include <thread>

#include "engine/base/status.h"
#include "server/rpc_status.h"
#include "tests/server/server_fixture.h"

namespace tessera::testing {
namespace {

class GenerateTest : public ServerFixture {
 protected:
  void SetUp() override { StartServer(); }

  grpc::Status Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    return generation_->Generate(&context, request, &response_);
  }

  v1::GenerateResponse response_;
};

TEST_F(GenerateTest, GathersTheWholeAnswer) {
  Script script = Spell("a tile");
  script.completion.finish_reason = FinishReason::kLength;
  engine_->SetScript(script);
  v1::GenerateRequest request = Question();
  request.set_request_id("my id");
  ASSERT_TRUE(Generate(request).ok());
  EXPECT_EQ(response_.text(), "a tile");
  EXPECT_EQ(response_.token_ids_size(), 6);
  EXPECT_EQ(response_.request_id(), "my id");
  EXPECT_EQ(response_.model(), "fake");
  EXPECT_EQ(response_.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(response_.usage().image_tokens(), 4);
  EXPECT_EQ(response_.usage().generated_tokens(), 6);
  ASSERT_EQ(response_.prompt_token_ids_size(), 3);
  EXPECT_EQ(response_.prompt_token_ids(1), -200);
  ASSERT_EQ(engine_->requests().size(), 1u);
  EXPECT_EQ(engine_->requests()[0].id, "my id");
}

TEST_F(GenerateTest, BringsLogprobs) {
  Script script;
  Chunk chunk;
  chunk.text = "x";
  chunk.token_ids = {7};
  chunk.logprobs = {{.id = 7, .bytes = "\xC3", .logprob = -0.5f}};
  chunk.top_logprobs = {
      {{.id = 7, .bytes = "\xC3", .logprob = -0.5f}, {.id = 8, .bytes = "y", .logprob = -1.5f}}};
  script.chunks = {chunk};
  engine_->SetScript(script);
  ASSERT_TRUE(Generate(Question()).ok());
  ASSERT_EQ(response_.logprobs_size(), 1);
  EXPECT_EQ(response_.logprobs(0).chosen().token(), "\xC3");
  ASSERT_EQ(response_.logprobs(0).top_size(), 2);
  EXPECT_EQ(response_.logprobs(0).top(1).id(), 8);
}

TEST_F(GenerateTest, MakesDifferentIdsAndSeedsWhereNoneAreGiven) {
  ASSERT_TRUE(Generate(Question()).ok());
  const std::string first = response_.request_id();
  ASSERT_TRUE(Generate(Question()).ok());
  EXPECT_FALSE(first.empty());
  EXPECT_NE(first, response_.request_id());
  EXPECT_NE(engine_->requests()[0].sampling.seed, engine_->requests()[1].sampling.seed);
}

TEST_F(GenerateTest, PassesTheImagesLimitOnAndTellsWhatItShrank) {
  Script script = Spell("small");
  script.completion.usage.reduced_images = 2;
  engine_->SetScript(script);
  v1::GenerateRequest request = Question();
  request.set_max_image_tokens(64);
  ASSERT_TRUE(Generate(request).ok());
  EXPECT_EQ(engine_->requests()[0].max_image_tokens, 64);
  EXPECT_EQ(response_.usage().reduced_images(), 2);
  ASSERT_TRUE(Generate(Question()).ok());
  EXPECT_FALSE(engine_->requests()[1].max_image_tokens.has_value()) << "the server's";
}

TEST_F(GenerateTest, RefusesAnImagesLimitBelowOne) {
  v1::GenerateRequest request = Question();
  request.set_max_image_tokens(0);
  const grpc::Status status = Generate(request);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(Reason(status), "tessera.v1/INVALID_PARAMETER");
  const auto bad = Detail<google::rpc::BadRequest>(status);
  ASSERT_TRUE(bad.has_value());
  EXPECT_EQ(bad->field_violations(0).field(), "max_image_tokens");
  v1::CountTokensRequest count;
  count.mutable_raw_prompt()->set_text("hi");
  count.set_max_image_tokens(-1);
  v1::CountTokensResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(generation_->CountTokens(&context, count, &response).error_code(),
            grpc::INVALID_ARGUMENT);
  EXPECT_TRUE(engine_->requests().empty());
}

TEST_F(GenerateTest, LeavesUnsetSamplingToTheEngine) {
  v1::GenerateRequest request = Question();
  request.mutable_sampling()->set_temperature(0);
  ASSERT_TRUE(Generate(request).ok());
  const SamplingParams sampling = engine_->requests()[0].sampling;
  EXPECT_EQ(sampling.temperature, 0.f);
  EXPECT_FALSE(sampling.top_k || sampling.top_p || sampling.min_p || sampling.repetition_penalty);
}

TEST_F(GenerateTest, PassesTheDeadlineOn) {
  engine_->SetScript(SpellAndStay("never seen"));
  grpc::ClientContext context;
  const auto start = std::chrono::steady_clock::now();
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  const grpc::Status status = generation_->Generate(&context, Question(), &response_);
  EXPECT_EQ(status.error_code(), grpc::DEADLINE_EXCEEDED);
  ASSERT_TRUE(engine_->WaitForFinish(FinishReason::kDeadline));
  ASSERT_TRUE(engine_->requests()[0].deadline.has_value());
  const auto given = *engine_->requests()[0].deadline - start;
  EXPECT_GT(given, std::chrono::milliseconds(250));
  EXPECT_LT(given, std::chrono::milliseconds(400));
}

// Whoever keeps time: the caller's clock may run out first.
TEST_F(GenerateTest, ForwardsACallThatItsDeadlineEnded) {
  Script script = SpellAndStay("never seen");
  script.heeds_deadline = false;
  engine_->SetScript(script);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  EXPECT_EQ(generation_->Generate(&context, Question(), &response_).error_code(),
            grpc::DEADLINE_EXCEEDED);
  EXPECT_TRUE(engine_->WaitForFinish(FinishReason::kDeadline));
  grpc::ClientContext streaming;
  streaming.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  const auto reader = generation_->StreamGenerate(&streaming, Question());
  v1::StreamGenerateResponse event;
  while (reader->Read(&event)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_TRUE(engine_->WaitForFinish(FinishReason::kDeadline, 2));
}

TEST_F(GenerateTest, HasNoDeadlineWhereNoneIsGiven) {
  ASSERT_TRUE(Generate(Question()).ok());
  EXPECT_FALSE(engine_->requests()[0].deadline.has_value());
}

TEST_F(GenerateTest, CancelsAtTheEngine) {
  Script script;
  script.before_prompt = std::chrono::hours(1);
  engine_->SetScript(script);
  grpc::ClientContext context;
  std::thread canceller([&] {
    engine_->WaitForRequests(1);
    context.TryCancel();
  });
  EXPECT_EQ(generation_->Generate(&context, Question(), &response_).error_code(), grpc::CANCELLED);
  canceller.join();
  EXPECT_TRUE(engine_->WaitForFinish(FinishReason::kCancelled));
}

TEST_F(GenerateTest, CountsTokens) {
  engine_->SetCount(PromptInfo{.token_ids = {5, -200}, .text_tokens = 1, .image_tokens = 576});
  v1::CountTokensRequest request;
  request.mutable_raw_prompt()->set_text("hi");
  request.set_parse_special_tokens(true);
  request.set_max_image_tokens(64);
  v1::CountTokensResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(generation_->CountTokens(&context, request, &response).ok());
  EXPECT_EQ(response.prompt_tokens(), 577);
  EXPECT_EQ(response.text_tokens(), 1);
  EXPECT_EQ(response.image_tokens(), 576);
  EXPECT_EQ(response.prompt_token_ids(1), -200);
  EXPECT_TRUE(engine_->requests()[0].parse_special_tokens);
  EXPECT_EQ(engine_->requests()[0].max_image_tokens, 64);
}

TEST_F(GenerateTest, RefusesToCountWhatTheEngineRefuses) {
  engine_->SetCount(RequestError(absl::StatusCode::kInvalidArgument,
                                 ErrorReason::kImageDecodeFailed, "raw_prompt.images[0]", "bad"));
  v1::CountTokensRequest request;
  request.mutable_raw_prompt()->set_text("hi");
  v1::CountTokensResponse response;
  grpc::ClientContext context;
  const grpc::Status status = generation_->CountTokens(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(Reason(status), "tessera.v1/IMAGE_DECODE_FAILED");
}

struct ErrorCase {
  const char* name;
  absl::Status engine;
  grpc::StatusCode code;
  std::string reason;
  std::string field;
  int retry_ms;  // -1: none
};

absl::Status Error(absl::StatusCode code, ErrorReason reason, std::string_view field = "") {
  return RequestError(code, reason, field, "told why");
}

std::vector<ErrorCase> ErrorCases() {
  using Code = absl::StatusCode;
  using Why = ErrorReason;
  const auto invalid = Code::kInvalidArgument;
  return {
      {"parameter", Error(invalid, Why::kInvalidParameter, "sampling.stop"), grpc::INVALID_ARGUMENT,
       "INVALID_PARAMETER", "sampling.stop", -1},
      {"context", Error(invalid, Why::kContextLengthExceeded, "conversation"),
       grpc::INVALID_ARGUMENT, "CONTEXT_LENGTH_EXCEEDED", "conversation", -1},
      {"capacity", Error(invalid, Why::kKvCapacityExceeded, "input"), grpc::INVALID_ARGUMENT,
       "KV_CAPACITY_EXCEEDED", "input", -1},
      {"decode", Error(invalid, Why::kImageDecodeFailed, "conversation.messages[0].parts[1].image"),
       grpc::INVALID_ARGUMENT, "IMAGE_DECODE_FAILED", "conversation.messages[0].parts[1].image",
       -1},
      {"queue", Error(Code::kResourceExhausted, Why::kQueueFull), grpc::RESOURCE_EXHAUSTED,
       "QUEUE_FULL", "", 1000},
      {"queue estimate",
       WithErrorMetadata(Error(Code::kResourceExhausted, Why::kQueueFull), "retry_after_ms", "70"),
       grpc::RESOURCE_EXHAUSTED, "QUEUE_FULL", "", 70},
      {"draining", Error(Code::kUnavailable, Why::kDraining), grpc::UNAVAILABLE, "DRAINING", "", 0},
      {"aborted", Error(Code::kUnavailable, Why::kShutdownAborted), grpc::UNAVAILABLE,
       "SHUTDOWN_ABORTED", "", -1},
      {"failure", Error(Code::kInternal, Why::kEngineFailure), grpc::INTERNAL, "ENGINE_FAILURE", "",
       -1},
      {"no reason", absl::InternalError("told why"), grpc::INTERNAL, "ENGINE_FAILURE", "", -1},
  };
}

void ExpectError(const grpc::Status& status, const ErrorCase& expected) {
  SCOPED_TRACE(expected.name);
  EXPECT_EQ(status.error_code(), expected.code);
  EXPECT_EQ(Reason(status), "tessera.v1/" + expected.reason);
  const auto bad = Detail<google::rpc::BadRequest>(status);
  ASSERT_EQ(bad.has_value(), !expected.field.empty());
  if (bad) {
    EXPECT_EQ(bad->field_violations(0).field(), expected.field);
    EXPECT_EQ(bad->field_violations(0).description(), "told why");
  }
  const auto retry = Detail<google::rpc::RetryInfo>(status);
  ASSERT_EQ(retry.has_value(), expected.retry_ms >= 0);
  if (retry) {
    EXPECT_EQ(retry->retry_delay().seconds() * 1000 + retry->retry_delay().nanos() / 1'000'000,
              expected.retry_ms);
  }
  const bool ours = expected.code == grpc::INTERNAL;
  EXPECT_EQ(Detail<google::rpc::RequestInfo>(status).has_value(), ours);
  EXPECT_EQ(status.error_message().find("told why") == std::string::npos, ours)
      << "INTERNAL tells nothing about our insides";
}

TEST_F(GenerateTest, TellsTheEnginesRefusals) {
  for (const ErrorCase& expected : ErrorCases()) {
    engine_->SetRefusal(expected.engine);
    ExpectError(Generate(Question()), expected);
  }
}

TEST_F(GenerateTest, TellsWhatFailsAfterAdmission) {
  for (const ErrorCase& expected : ErrorCases()) {
    Script script = Spell("lost");
    script.completion.status = expected.engine;
    script.completion.finish_reason = FinishReason::kNone;
    engine_->SetScript(script);
    ExpectError(Generate(Question()), expected);
  }
}

TEST_F(GenerateTest, QuotesTheRequestIdOfAFailure) {
  engine_->SetRefusal(absl::InternalError("secret"));
  v1::GenerateRequest request = Question();
  request.set_request_id("r-7");
  const auto info = Detail<google::rpc::RequestInfo>(Generate(request));
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->request_id(), "r-7");
}

TEST_F(GenerateTest, TellsRetryingClientsToWait) {
  engine_->SetRefusal(Error(absl::StatusCode::kResourceExhausted, ErrorReason::kQueueFull));
  grpc::ClientContext context;
  EXPECT_FALSE(generation_->Generate(&context, Question(), &response_).ok());
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto found = trailers.find("grpc-retry-pushback-ms");
  ASSERT_NE(found, trailers.end());
  EXPECT_EQ(std::string(found->second.data(), found->second.size()), "1000");
}

TEST_F(GenerateTest, TellsAnUnknownModel) {
  v1::GenerateRequest request = Question();
  request.set_model("other");
  const grpc::Status status = Generate(request);
  EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(Reason(status), "tessera.v1/MODEL_NOT_FOUND");
  const auto resource = Detail<google::rpc::ResourceInfo>(status);
  ASSERT_TRUE(resource.has_value());
  EXPECT_EQ(resource->resource_name(), "other");
}

TEST_F(GenerateTest, RefusesBadFieldsWithoutTheEngine) {
  v1::GenerateRequest request = Question();
  request.mutable_sampling()->set_top_p(1.5f);
  const grpc::Status status = Generate(request);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "sampling.top_p: must be in (0, 1], not 1.5");
  EXPECT_TRUE(engine_->requests().empty());
}

TEST_F(GenerateTest, ErrorsOfAnySizeFitTheTrailers) {
  absl::Status status =
      RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kInvalidParameter,
                   std::string(9000, 'f'), std::string(20'000, '\n') + "\xC3\xA4");
  for (int i = 0; i < 40; ++i) {
    status = WithErrorMetadata(status, "key" + std::to_string(i), std::string(1000, 'v'));
  }
  engine_->SetRefusal(status);
  const grpc::Status received = Generate(Question());
  EXPECT_EQ(received.error_code(), grpc::INVALID_ARGUMENT) << received.error_message();
  EXPECT_EQ(Reason(received), "tessera.v1/INVALID_PARAMETER");
  EXPECT_TRUE(Detail<google::rpc::BadRequest>(received).has_value());
  EXPECT_LE(received.error_details().size(), kMaxDetailsBytes);
}

TEST_F(GenerateTest, RefusesCompressedRequests) {
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  const v1::GenerateRequest bomb = Question(std::string(1 << 20, 'a'));
  EXPECT_EQ(generation_->Generate(&context, bomb, &response_).error_code(), grpc::UNIMPLEMENTED);
  EXPECT_TRUE(engine_->requests().empty());
}

TEST_F(GenerateTest, RefusesMessagesOverTheLimit) {
  EXPECT_EQ(Generate(Question(std::string(65 << 20, 'a'))).error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(engine_->requests().empty());
}

TEST_F(GenerateTest, TakesLargeMessages) {
  v1::GenerateRequest request = Question();
  for (int i = 0; i < 3; ++i) {
    request.mutable_conversation()->mutable_messages(0)->add_parts()->mutable_image()->set_data(
        std::string(19 << 20, 'p'));
  }
  EXPECT_TRUE(Generate(request).ok());
}

TEST_F(GenerateTest, InvalidUtf8NeverReachesTheEngine) {
  // raw_prompt { text: "\xFF" }
  const std::string bytes = "\x1A\x03\x0A\x01\xFF";
  const RawAnswer answer = RawCall(channel_, "/tessera.v1.GenerationService/Generate", bytes);
  EXPECT_EQ(answer.status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(answer.status.error_message(),
            "raw_prompt.text: is not valid UTF-8 at byte 0 of its 1");
  EXPECT_TRUE(engine_->requests().empty());
  const std::string good = "\x1A\x03\x0A\x01x";
  EXPECT_TRUE(RawCall(channel_, "/tessera.v1.GenerationService/Generate", good).status.ok());
}

}  // namespace
}  // namespace tessera::testing
