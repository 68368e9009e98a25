// What calls do before their message is a request, over TCP: bytes that are no message, messages
// that never come, that are too large or too many; that each of them is counted and logged.
#include "server/rpc_call.h"

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <functional>
#include <sstream>
#include <thread>
#include <vector>

#include "grpc/health/v1/health.pb.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "tests/server/http2_client.h"
#include "tests/server/server_fixture.h"

namespace tessera::testing {
namespace {

constexpr char kGenerate[] = "/tessera.v1.GenerationService/Generate";
constexpr char kStreamGenerate[] = "/tessera.v1.GenerationService/StreamGenerate";
constexpr char kCountTokens[] = "/tessera.v1.GenerationService/CountTokens";
constexpr std::chrono::seconds kPatience(10);

bool Eventually(const std::function<bool()>& condition) {
  const auto until = Clock::now() + kPatience;
  while (Clock::now() < until) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return condition();
}

class RpcCallTest : public ServerFixture {
 protected:
  RpcCallTest() {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_, true)));
  }
  ~RpcCallTest() override {
    server_.reset();  // nobody logs any more
    spdlog::set_default_logger(before_);
  }

  double Errors(const std::string& reason) const {
    return Metric("tessera_grpc_server_errors_total{reason=\"" + reason + "\"}");
  }
  double Handled(const std::string& method, const std::string& code) const {
    return Metric("tessera_grpc_server_handled_total{grpc_method=\"" + method + "\",grpc_code=\"" +
                  code + "\"}");
  }
  int64_t Receiving() const { return engine_->memory().bytes(MemoryUse::kReceiving); }

  // A call that half-closes without a message.
  grpc::Status CallWithoutMessage(const std::string& method) {
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    grpc::GenericStub stub(channel_);
    const auto call = stub.PrepareCall(&context, method, &queue);
    void* tag = nullptr;
    bool ok = false;
    grpc::Status status;
    call->StartCall(nullptr);
    queue.Next(&tag, &ok);
    call->WritesDone(nullptr);
    queue.Next(&tag, &ok);
    call->Finish(&status, nullptr);
    queue.Next(&tag, &ok);
    queue.Shutdown();
    return status;
  }

  std::ostringstream log_;
  const std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
};

std::vector<const google::protobuf::ServiceDescriptor*> Services() {
  return {v1::GenerateRequest::descriptor()->file()->service(0),
          v1::GetModelRequest::descriptor()->file()->service(0),
          grpc::health::v1::HealthCheckRequest::descriptor()->file()->service(0),
          grpc::reflection::v1::ServerReflectionRequest::descriptor()->file()->service(0)};
}

TEST_F(RpcCallTest, EveryMethodTellsWhatIsWrongWithItsBytesAndCountsIt) {
  StartServer();
  int calls = 0;
  for (const auto* service : Services()) {
    for (int i = 0; i < service->method_count(); ++i) {
      const std::string name(service->method(i)->name());
      const std::string path = "/" + std::string(service->full_name()) + "/" + name;
      const grpc::Status status = RawCall(channel_, path,
                                          "\x0A\x05"
                                          "ab")
                                      .status;
      EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT) << path;
      EXPECT_EQ(Reason(status), "tessera.v1/INVALID_PARAMETER");
      EXPECT_NE(status.error_message().find("malformed at byte 2 of 4"), std::string::npos)
          << status.error_message();
      const grpc::Status none = CallWithoutMessage(path);
      EXPECT_EQ(none.error_code(), grpc::INVALID_ARGUMENT) << path;
      EXPECT_EQ(none.error_message(), "there is no message");
      EXPECT_EQ(Handled(name, "INVALID_ARGUMENT"), 2) << name;
      ++calls;
    }
  }
  EXPECT_EQ(calls, kRpcMethods - 1);
  EXPECT_EQ(Errors("INVALID_PARAMETER"), 2 * calls);
  EXPECT_TRUE(engine_->requests().empty());
}

TEST_F(RpcCallTest, TextThatIsNoUtf8IsToldByField) {
  StartServer();
  v1::GenerateRequest request = Question("?????");
  std::string bytes = request.SerializeAsString();
  bytes.replace(bytes.size() - 3, 1, "\xFF");
  for (const char* method : {kGenerate, kStreamGenerate, kCountTokens}) {
    const grpc::Status status = RawCall(channel_, method, bytes).status;
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
    const auto bad = Detail<google::rpc::BadRequest>(status);
    ASSERT_TRUE(bad.has_value());
    EXPECT_EQ(bad->field_violations(0).field(), "conversation.messages[0].parts[0].text");
    EXPECT_EQ(bad->field_violations(0).description(), "is not valid UTF-8 at byte 2 of its 5");
  }
  EXPECT_NE(log_.str().find(" field=\"conversation.messages[0].parts[0].text\" "),
            std::string::npos);
}

TEST_F(RpcCallTest, UnknownMethodsAreRefusedCountedAndLogged) {
  StartServer();
  for (const char* method : {"/tessera.v1.GenerationService/Translate", "/other.Service/Call"}) {
    const grpc::Status status = RawCall(channel_, method, "x").status;
    EXPECT_EQ(status.error_code(), grpc::UNIMPLEMENTED);
    EXPECT_EQ(Reason(status), "tessera.v1/METHOD_NOT_FOUND");
    EXPECT_NE(status.error_message().find(method), std::string::npos) << status.error_message();
  }
  EXPECT_EQ(Handled("unknown", "UNIMPLEMENTED"), 2);
  EXPECT_NE(log_.str().find("method=unknown"), std::string::npos);
}

TEST_F(RpcCallTest, TooLargeMessagesAreRefusedCountedAndLogged) {
  StartServer();
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const grpc::Status status =
      generation_->Generate(&context, Question(std::string(65 << 20, 'a')), &response);
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Reason(status), "tessera.v1/MESSAGE_TOO_LARGE") << status.error_message();
  EXPECT_EQ(Handled("Generate", "RESOURCE_EXHAUSTED"), 1);
  EXPECT_NE(log_.str().find("reason=MESSAGE_TOO_LARGE"), std::string::npos);
  EXPECT_TRUE(engine_->requests().empty());
  EXPECT_TRUE(Eventually([this] { return engine_->memory().bytes() == 0; }));
}

TEST_F(RpcCallTest, ManySmallPartsAreRefusedAtAboutTheirOwnSize) {
  StartServer();
  std::string parts;
  for (int i = 0; i < 32 << 20; ++i) parts += std::string("\x12\x00", 2);
  v1::GenerateRequest request;
  request.mutable_raw_prompt()->set_text(parts);  // a text of the same size, for the lengths
  std::string bytes = request.SerializeAsString();
  bytes[0] = '\x12';                                // conversation
  bytes[bytes.size() - parts.size() - 5] = '\x0A';  // messages
  const double before = Metric("process_resident_memory_bytes");
  const grpc::Status status = RawCall(channel_, kGenerate, bytes.substr(0, 64 << 20)).status;
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT) << status.error_message();
  EXPECT_LT(Metric("process_resident_memory_bytes") - before, 200e6);
}

TEST_F(RpcCallTest, CallsAreRefusedAtTheirHeaders) {
  StartLoading();
  Http2Client client(server_->grpc_address());
  for (const char* method : {kGenerate, kStreamGenerate, kCountTokens, "/no.Such/Method",
                             "/tessera.v1.ModelService/GetModel"}) {
    const uint32_t stream = client.Call(method);
    EXPECT_TRUE(client.WaitForEnd(stream, kPatience)) << method << ", though no message came";
  }
  EXPECT_EQ(Handled("Generate", "UNAVAILABLE"), 1);
  Publish();
  const uint32_t stream = client.Call(kGenerate);
  EXPECT_FALSE(client.WaitForEnd(stream, std::chrono::milliseconds(100))) << "it is waited for";
}

TEST_F(RpcCallTest, MessagesThatAreNotWholeAreCharged) {
  StartServer();
  {
    Http2Client client(server_->grpc_address());
    const std::string half(5 << 20, 'x');
    for (int i = 0; i < 4; ++i) {
      const uint32_t stream = client.Call(i % 2 == 0 ? kGenerate : kCountTokens);
      client.Send(stream, Http2Client::MessageHead(10 << 20), kPatience);
      EXPECT_EQ(client.Send(stream, half, kPatience), half.size());
    }
    EXPECT_TRUE(Eventually([this] { return Receiving() >= 20 << 20; })) << Receiving();
    EXPECT_LT(Receiving(), 21 << 20);
  }
  EXPECT_TRUE(Eventually([this] { return Receiving() == 0; })) << "the client has left";
  EXPECT_TRUE(Eventually([this] { return Errors("CANCELLED") == 4; }));
  EXPECT_NE(log_.str().find("stage=receiving"), std::string::npos);
}

TEST_F(RpcCallTest, MessagesThatAreNotWholeTakeTheServerFromNobody) {
  StartLoading();
  Publish(int64_t{64} << 20);
  std::vector<std::unique_ptr<Http2Client>> attackers;
  for (int i = 0; i < 4; ++i) {
    attackers.push_back(std::make_unique<Http2Client>(server_->grpc_address()));
    const uint32_t stream = attackers.back()->Call(kGenerate);
    attackers.back()->Send(stream, Http2Client::MessageHead(60 << 20), kPatience);
    attackers.back()->Send(stream, std::string(20 << 20, 'x'), std::chrono::seconds(2));
    EXPECT_TRUE(Eventually([this] { return Receiving() <= 32 << 20; })) << Receiving();
  }
  grpc::ClientContext context;
  v1::GenerateResponse response;
  EXPECT_TRUE(generation_->Generate(&context, Question(), &response).ok());
  EXPECT_GE(Errors("QUEUE_FULL"), 1);
  attackers.clear();
  EXPECT_TRUE(Eventually([this] { return engine_->memory().bytes() == 0; }));
}

TEST_F(RpcCallTest, WhatARequestHoldsIsChargedUntilItsInputIsFreed) {
  StartServer();
  engine_->SetScript(SpellAndStay("x"));
  grpc::ClientContext context;
  v1::GenerateRequest request = Question();
  request.mutable_conversation()->mutable_messages(0)->add_parts()->mutable_image()->set_data(
      std::string(10 << 20, 'p'));
  const auto reader = generation_->StreamGenerate(&context, request);
  ASSERT_TRUE(engine_->WaitForRequests(1));
  const int64_t held = engine_->memory().bytes(MemoryUse::kRequests);
  EXPECT_GE(held, 10 << 20);
  EXPECT_LT(held, 11 << 20) << "once, and not twice";
  context.TryCancel();
  v1::StreamGenerateResponse event;
  while (reader->Read(&event)) {
  }
  reader->Finish();
  EXPECT_TRUE(Eventually([this] { return engine_->memory().bytes() == 0; }));
}

TEST_F(RpcCallTest, AFullBudgetRefusesCallsAtTheirHeaders) {
  StartLoading();
  Publish(1 << 20);
  auto all = engine_->memory().Charge(MemoryUse::kImages, 1 << 20);
  ASSERT_TRUE(all.ok());
  Http2Client client(server_->grpc_address());
  EXPECT_TRUE(client.WaitForEnd(client.Call(kCountTokens), kPatience));
  EXPECT_EQ(Errors("QUEUE_FULL"), 1);
  all->Release();
  grpc::ClientContext context;
  v1::GenerateResponse response;
  EXPECT_TRUE(generation_->Generate(&context, Question(), &response).ok());
}

TEST_F(RpcCallTest, CountingIsChargedAndGivenUpWithItsCaller) {
  StartServer();
  engine_->SetCountTime(std::chrono::milliseconds(400));
  v1::CountTokensRequest request;
  request.mutable_raw_prompt()->set_text(std::string(1 << 20, 'a'));
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&, late = i > 0] {
      v1::CountTokensResponse response;
      grpc::ClientContext context;
      if (late) {
        engine_->WaitForRequests(1);
        context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
      }
      EXPECT_EQ(generation_->CountTokens(&context, request, &response).ok(), !late);
    });
  }
  EXPECT_TRUE(
      Eventually([this] { return engine_->memory().bytes(MemoryUse::kRequests) >= 3 << 20; }));
  for (std::thread& caller : callers) caller.join();
  EXPECT_TRUE(Eventually([this] { return engine_->memory().bytes() == 0; }));
  EXPECT_EQ(engine_->requests().size(), 1u) << "nobody waited for the others' counts";
  EXPECT_TRUE(Eventually([this] { return Errors("DEADLINE_EXCEEDED") == 2; }));
}

TEST_F(RpcCallTest, ASecondMessageIsNotRead) {
  StartServer();
  const std::string message = Question().SerializeAsString();
  const std::string framed =
      Http2Client::MessageHead(static_cast<uint32_t>(message.size())) + message;
  engine_->SetScript(SpellAndStay("x"));
  Http2Client client(server_->grpc_address());
  const uint32_t stream = client.Call(kGenerate);
  client.Send(stream, framed, kPatience);
  ASSERT_TRUE(engine_->WaitForRequests(1));
  const size_t sent =
      client.Send(stream, Http2Client::MessageHead(1 << 20) + std::string(1 << 20, 'x'),
                  std::chrono::milliseconds(300));
  EXPECT_LE(sent, size_t{128} << 10) << "no more than the window";
  EXPECT_EQ(engine_->requests().size(), 1u);
}

TEST_F(RpcCallTest, TheLineOfACallTellsWhoAndWhere) {
  StartServer();
  Script script = SpellAndStay("x");
  script.completion.usage.first_token_ms = 1.5;
  script.stay = false;
  script.completion.stage = Stage::kDecode;
  engine_->SetScript(script);
  grpc::ClientContext context;
  v1::GenerateResponse response;
  ASSERT_TRUE(generation_->Generate(&context, Question(), &response).ok());
  v1::GenerateRequest bad = Question();
  bad.mutable_sampling()->set_top_p(7);
  grpc::ClientContext bad_context;
  EXPECT_FALSE(generation_->Generate(&bad_context, bad, &response).ok());
  EXPECT_TRUE(Eventually([this] { return Errors("INVALID_PARAMETER") == 1; }));
  const std::string log = log_.str();
  for (const char* part : {" peer=\"ipv4:127.0.0.1:", " stage=decode ", " ttft_ms=1.5 ",
                           " prefill_ms=", " field=\"sampling.top_p\" ", " stage=parsing "}) {
    EXPECT_NE(log.find(part), std::string::npos) << part << " in " << log;
  }
}

}  // namespace
}  // namespace tessera::testing
