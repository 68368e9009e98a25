// The server's life: loading, ready, stalled, draining, gone; seen through gRPC and HTTP as a
// client, a probe and a scraper see it.
#include <chrono>
#include <thread>

#include "engine/base/status.h"
#include "server/drain.h"
#include "tests/server/raw_client.h"
#include "tests/server/server_fixture.h"

namespace tessera::testing {
namespace {

constexpr char kServing[] = "\x08\x01";     // HealthCheckResponse { status: SERVING }
constexpr char kNotServing[] = "\x08\x02";  // NOT_SERVING

class ServerTest : public ServerFixture {
 protected:
  std::string Health(const std::string& service) {
    const std::string request =
        service.empty() ? "" : "\x0A" + std::string(1, static_cast<char>(service.size())) + service;
    return RawCall(channel_, "/grpc.health.v1.Health/Check", request).bytes;
  }

  // Status code and body, blank for no answer.
  std::pair<int, std::string> Get(const std::string& path) {
    RawClient client(server_->http_address());
    client.Connect();
    client.Send("GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n");
    head_ = client.ReadAnswer();
    const size_t end = head_.find("\r\n\r\n");
    if (end == std::string::npos) return {0, ""};
    const std::string body = head_.substr(end + 4);
    head_.resize(end);
    return {std::stoi(head_.substr(std::string("HTTP/1.1 ").size())), body};
  }

  grpc::Status Generate() {
    grpc::ClientContext context;
    v1::GenerateResponse response;
    return generation_->Generate(&context, Question(), &response);
  }

  std::string head_;  // of the last answer
  std::stop_source hurry_;
};

TEST_F(ServerTest, WhileLoadingAnswersThatItLoads) {
  StartLoading();
  server_->SetProgress(int64_t{12} << 20, int64_t{34} << 20);
  EXPECT_EQ(Health(""), kNotServing);
  EXPECT_EQ(Health("tessera.v1.GenerationService"), kNotServing);
  EXPECT_EQ(Get("/healthz").first, 200);
  EXPECT_EQ(Get("/readyz"), std::make_pair(503, std::string("the model is loading: 12 of 34 MiB "
                                                            "read\n")));
  EXPECT_EQ(Get("/metrics").first, 200);
  const grpc::Status status = Generate();
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(Reason(status), "tessera.v1/MODEL_LOADING");
  EXPECT_TRUE(Detail<google::rpc::RetryInfo>(status).has_value());
  grpc::ClientContext context;
  v1::ListModelsResponse models;
  EXPECT_EQ(models_->ListModels(&context, {}, &models).error_code(), grpc::UNAVAILABLE);
}

TEST_F(ServerTest, ReadyAfterPublishing) {
  StartServer();
  EXPECT_EQ(Health(""), kServing);
  EXPECT_EQ(Health("tessera.v1.GenerationService"), kServing);
  EXPECT_EQ(Get("/readyz"), std::make_pair(200, std::string("ready\n")));
  EXPECT_TRUE(Generate().ok());
}

TEST_F(ServerTest, NotReadyWhileTheEngineStalls) {
  StartServer();
  engine_->ChangeStats([](EngineStats& stats) { stats.seconds_since_step = 12.34; });
  EXPECT_EQ(Get("/readyz"), std::make_pair(503, std::string("the engine has not finished a step "
                                                            "for 12.3 s\n")));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (Health("") != kNotServing && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(Health(""), kNotServing);
  EXPECT_EQ(Get("/healthz").first, 200);
}

TEST_F(ServerTest, NotReadyWhilePreparingIsStuck) {
  StartServer();
  engine_->ChangeStats([](EngineStats& stats) {
    stats.longest_turn_seconds = 59;
    stats.oldest(Standing::kPreparing) = 1e6;  // slow, not stuck
  });
  EXPECT_EQ(Get("/readyz").first, 200);
  engine_->ChangeStats([](EngineStats& stats) { stats.longest_turn_seconds = 61.25; });
  EXPECT_EQ(Get("/readyz"),
            std::make_pair(503, std::string("preparing one text or image has taken 61.2 s\n")));
  engine_->ChangeStats([](EngineStats& stats) { stats.longest_turn_seconds = 0; });
  EXPECT_EQ(Get("/readyz").first, 200);
}

TEST_F(ServerTest, TellsTheModel) {
  StartServer();
  engine_->mutable_model().default_sampling.top_k = 20;
  engine_->mutable_model().other_names = {"org/fake"};
  engine_->mutable_model().warnings = {"a chat template is not run"};
  grpc::ClientContext context;
  v1::GetModelResponse response;
  ASSERT_TRUE(models_->GetModel(&context, {}, &response).ok());
  EXPECT_EQ(response.model().name(), "fake");
  EXPECT_EQ(response.model().max_context_tokens(), 2048);
  EXPECT_EQ(response.model().default_sampling().top_k(), 20);
  EXPECT_EQ(response.model().default_sampling().top_p(), 1);
  EXPECT_EQ(response.model().warnings(0), "a chat template is not run");
  v1::GetModelRequest second;
  second.set_model("org/fake");
  grpc::ClientContext second_context;
  ASSERT_TRUE(models_->GetModel(&second_context, second, &response).ok());
  EXPECT_EQ(response.model().name(), "fake") << "the first name, whichever was asked for";
  EXPECT_EQ(response.model().served_names_size(), 2);
  grpc::ClientContext list_context;
  v1::ListModelsResponse list;
  ASSERT_TRUE(models_->ListModels(&list_context, {}, &list).ok());
  EXPECT_EQ(list.models_size(), 1);
  v1::GetModelRequest other;
  other.set_model("other");
  grpc::ClientContext other_context;
  EXPECT_EQ(Reason(models_->GetModel(&other_context, other, &response)),
            "tessera.v1/MODEL_NOT_FOUND");
}

TEST_F(ServerTest, ReflectionListsTheServices) {
  StartServer();
  // ServerReflectionRequest { list_services: "*" }
  const std::string services = RawCall(channel_,
                                       "/grpc.reflection.v1alpha.ServerReflection/"
                                       "ServerReflectionInfo",
                                       "\x3A\x01*")
                                   .bytes;
  for (const char* name :
       {"tessera.v1.GenerationService", "tessera.v1.ModelService", "grpc.health.v1.Health"}) {
    EXPECT_NE(services.find(name), std::string::npos) << name;
  }
}

TEST_F(ServerTest, ServesMetricsForPrometheus) {
  StartServer();
  ASSERT_TRUE(Generate().ok());
  const auto [code, text] = Get("/metrics");
  EXPECT_EQ(code, 200);
  EXPECT_NE(head_.find("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            std::string::npos);
  for (const char* line :
       {"tessera_requests_running{model_name=\"fake\"} ",
        "tessera_grpc_server_handled_total{grpc_method=\"Generate\",grpc_code=\"OK\"} 1",
        "tessera_grpc_server_handled_total{grpc_method=\"CountTokens\",grpc_code=\"INTERNAL\"} 0",
        "tessera_grpc_server_handling_seconds_count{grpc_method=\"Generate\"} 1",
        "tessera_http_requests_total{code=\"200\"} ",
        "tessera_build_info{version=", "process_resident_memory_bytes "}) {
    EXPECT_NE(text.find(line), std::string::npos) << line;
  }
}

TEST_F(ServerTest, APortInUseIsAnError) {
  StartServer();
  const auto taken = ParseListenAddress(server_->grpc_address());
  const auto taken_http = ParseListenAddress(server_->http_address());
  const ListenAddress any{.host = "127.0.0.1", .port = 0};
  const auto same_grpc = Server::Start(*taken, any);
  ASSERT_FALSE(same_grpc.ok());
  EXPECT_NE(StatusMessage(same_grpc.status()).find(server_->grpc_address()), std::string::npos);
  const auto same_http = Server::Start(any, *taken_http);
  ASSERT_FALSE(same_http.ok());
  EXPECT_NE(StatusMessage(same_http.status()).find(server_->http_address()), std::string::npos);
  EXPECT_TRUE(Generate().ok()) << "the first server goes on";
}

TEST_F(ServerTest, DrainLetsRunningRequestsFinish) {
  StartServer();
  Script script = Spell("to the end");
  script.between_chunks = std::chrono::milliseconds(60);
  engine_->SetScript(script);
  grpc::ClientContext context;
  const auto reader = generation_->StreamGenerate(&context, Question());
  v1::StreamGenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  std::thread drain([this] { server_->Drain(std::chrono::seconds(30), hurry_.get_token()); });
  while (Get("/readyz").first == 200) std::this_thread::yield();
  EXPECT_EQ(Get("/readyz").second, "draining\n");
  EXPECT_EQ(Health(""), kNotServing);
  const grpc::Status refused = Generate();
  EXPECT_EQ(refused.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(Reason(refused), "tessera.v1/DRAINING");
  const auto retry = Detail<google::rpc::RetryInfo>(refused);
  ASSERT_TRUE(retry.has_value());
  EXPECT_EQ(retry->retry_delay().seconds(), 0);
  std::string text;
  while (reader->Read(&response)) text += response.delta().text();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(text, "to the end");
  drain.join();
  EXPECT_EQ(Generate().error_code(), grpc::UNAVAILABLE);
}

TEST_F(ServerTest, DrainAbortsWhatIsLateWithAReason) {
  StartServer();
  engine_->SetScript(SpellAndStay("half"));
  grpc::ClientContext context;
  const auto reader = generation_->StreamGenerate(&context, Question());
  v1::StreamGenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  std::thread drain([this] { server_->Drain(std::chrono::milliseconds(100), hurry_.get_token()); });
  while (reader->Read(&response)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(Reason(status), "tessera.v1/SHUTDOWN_ABORTED");
  drain.join();
}

TEST_F(ServerTest, ASecondSignalEndsTheDrain) {
  StartServer();
  engine_->SetScript(SpellAndStay("half"));
  grpc::ClientContext context;
  const auto reader = generation_->StreamGenerate(&context, Question());
  v1::StreamGenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  const auto start = std::chrono::steady_clock::now();
  std::thread hurry([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    hurry_.request_stop();
  });
  server_->Drain(std::chrono::hours(1), hurry_.get_token());
  hurry.join();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::UNAVAILABLE);
}

TEST_F(ServerTest, AnIdleDrainIsQuickAlsoWithAHealthWatcher) {
  StartServer();
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  grpc::GenericStub stub(channel_);
  const auto watch = stub.PrepareCall(&context, "/grpc.health.v1.Health/Watch", &queue);
  watch->StartCall(nullptr);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  const grpc::Slice empty("");
  watch->WriteLast(grpc::ByteBuffer(&empty, 1), grpc::WriteOptions(), nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::ByteBuffer first;
  watch->Read(&first, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  const auto start = std::chrono::steady_clock::now();
  server_->Drain(std::chrono::seconds(30), hurry_.get_token());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(3));
  context.TryCancel();  // what came last has not been read
  grpc::Status status;
  watch->Finish(&status, nullptr);
  queue.Next(&tag, &ok);
  queue.Shutdown();
}

TEST_F(ServerTest, EndsInOrderWithoutADrain) {
  StartServer();
  engine_->SetScript(SpellAndStay("half"));
  grpc::ClientContext context;
  const auto reader = generation_->StreamGenerate(&context, Question());
  v1::StreamGenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  server_.reset();
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::UNAVAILABLE);
}

TEST(DrainTest, TellsCallsWithoutAnAnswerFromAnswersThatNobodyTook) {
  RpcMetrics calls;
  for (int i = 0; i < 3; ++i) calls.Opened(RpcMethod::kGenerate);
  calls.Answered(RpcMethod::kGenerate, grpc::StatusCode::OK, "", std::chrono::milliseconds(1));
  calls.Answered(RpcMethod::kGenerate, grpc::StatusCode::OK, "", std::chrono::milliseconds(1));
  calls.Closed(RpcMethod::kGenerate);
  std::stop_source hurry;
  hurry.request_stop();
  const DrainReport report = Drain(nullptr, calls, Clock::now(), hurry.get_token());
  EXPECT_EQ(report.aborted, 1);
  EXPECT_EQ(report.unread, 2);
}

}  // namespace
}  // namespace tessera::testing
