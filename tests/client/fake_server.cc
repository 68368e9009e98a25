#include "tests/client/fake_server.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <mutex>
#include <thread>

#include "engine/base/check.h"
#include "tessera/v1/generation.grpc.pb.h"
#include "tessera/v1/model.grpc.pb.h"

namespace tessera::testing {
namespace {

grpc::Status ScriptedError(const Script& script) {
  google::rpc::Status rich;
  rich.set_code(script.error_code);
  rich.set_message(script.error_message);
  if (!script.error_reason.empty()) {
    google::rpc::ErrorInfo info;
    info.set_reason(script.error_reason);
    info.set_domain("tessera.v1");
    rich.add_details()->PackFrom(info);
  }
  if (!script.error_field.empty()) {
    google::rpc::BadRequest bad;
    bad.add_field_violations()->set_field(script.error_field);
    rich.add_details()->PackFrom(bad);
  }
  if (script.retry_after_s > 0) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(static_cast<int64_t>(script.retry_after_s));
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(
        (script.retry_after_s - static_cast<double>(retry.retry_delay().seconds())) * 1e9));
    rich.add_details()->PackFrom(retry);
  }
  return {static_cast<grpc::StatusCode>(script.error_code), script.error_message,
          rich.SerializeAsString()};
}

v1::Usage UsageOf(const Script& script) {
  v1::Usage usage;
  usage.set_prompt_tokens(3);
  usage.set_text_tokens(3);
  usage.set_generated_tokens(static_cast<int>(script.deltas.size()));
  usage.set_decode_ms(10);
  return usage;
}

}  // namespace

class FakeServer::Services : public v1::GenerationService::Service,
                             public v1::ModelService::Service {
 public:
  grpc::Status Generate(grpc::ServerContext*, const v1::GenerateRequest* request,
                        v1::GenerateResponse* response) override {
    const Script script = Take(*request);
    if (script.error_code != 0) return ScriptedError(script);
    response->set_request_id(request->request_id().empty() ? "fake-1" : request->request_id());
    response->set_model("fake");
    for (size_t i = 0; i < script.deltas.size(); ++i) {
      response->mutable_text()->append(script.deltas[i]);
      response->add_token_ids(100 + static_cast<int>(i));
    }
    for (const int id : {1, -200, 3}) response->add_prompt_token_ids(id);
    response->set_finish_reason(script.finish_reason);
    *response->mutable_usage() = UsageOf(script);
    return grpc::Status::OK;
  }

  grpc::Status StreamGenerate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                              grpc::ServerWriter<v1::StreamGenerateResponse>* writer) override {
    const Script script = Take(*request);
    if (script.error_code != 0 && script.fail_first) return ScriptedError(script);
    v1::StreamGenerateResponse event;
    v1::PromptEvent* prompt = event.mutable_prompt();
    prompt->set_request_id(request->request_id().empty() ? "fake-1" : request->request_id());
    prompt->set_model("fake");
    for (const int id : {1, -200, 3}) prompt->add_prompt_token_ids(id);
    writer->Write(event);
    for (size_t i = 0; i < script.deltas.size(); ++i) {
      if (!Wait(context, script.pace)) return grpc::Status::CANCELLED;
      event.mutable_delta()->Clear();
      event.mutable_delta()->set_text(script.deltas[i]);
      event.mutable_delta()->add_token_ids(100 + static_cast<int>(i));
      writer->Write(event);
    }
    if (script.error_code != 0) return ScriptedError(script);
    if (script.omit_finish) return grpc::Status::OK;
    event.mutable_finish()->set_finish_reason(script.finish_reason);
    *event.mutable_finish()->mutable_usage() = UsageOf(script);
    writer->Write(event);
    return grpc::Status::OK;
  }

  grpc::Status CountTokens(grpc::ServerContext*, const v1::CountTokensRequest*,
                           v1::CountTokensResponse* response) override {
    response->set_prompt_tokens(612);
    response->set_text_tokens(36);
    response->set_image_tokens(576);
    return grpc::Status::OK;
  }

  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest*,
                        v1::GetModelResponse* response) override {
    *response->mutable_model() = FakeModel();
    return grpc::Status::OK;
  }

  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    *response->add_models() = FakeModel();
    return grpc::Status::OK;
  }

  std::string Start() {
    int port = 0;
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(static_cast<v1::GenerationService::Service*>(this));
    builder.RegisterService(static_cast<v1::ModelService::Service*>(this));
    builder.SetMaxReceiveMessageSize(64 << 20);
    server_ = builder.BuildAndStart();
    TESSERA_CHECK(server_ != nullptr);
    return "127.0.0.1:" + std::to_string(port);
  }

  void Stop() {
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }

  void Follow(const Script& script) {
    const std::lock_guard lock(mutex_);
    script_ = script;
  }

  void SetServing(bool serving) { server_->GetHealthCheckService()->SetServingStatus(serving); }

  std::vector<v1::GenerateRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

  int cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }

 private:
  static v1::Model FakeModel() {
    v1::Model model;
    model.set_name("fake");
    model.set_device("cpu");
    model.set_parameters(2'500'000);
    return model;
  }

  // Notes the request and says what to do with it.
  Script Take(const v1::GenerateRequest& request) {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
    if (script_.unavailable_calls == 0) return script_;
    --script_.unavailable_calls;
    Script unavailable;
    unavailable.error_code = grpc::StatusCode::UNAVAILABLE;
    unavailable.error_message = "not yet";
    return unavailable;
  }

  // False: the client is gone.
  bool Wait(grpc::ServerContext* context, std::chrono::milliseconds pace) {
    const auto until = std::chrono::steady_clock::now() + pace;
    while (std::chrono::steady_clock::now() < until) {
      if (context->IsCancelled()) {
        const std::lock_guard lock(mutex_);
        ++cancelled_;
        return false;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }

  std::unique_ptr<grpc::Server> server_;
  mutable std::mutex mutex_;
  Script script_;
  std::vector<v1::GenerateRequest> requests_;
  int cancelled_ = 0;
};

FakeServer::FakeServer() : services_(std::make_unique<Services>()), address_(services_->Start()) {}
FakeServer::~FakeServer() { services_->Stop(); }

void FakeServer::Follow(const Script& script) { services_->Follow(script); }
void FakeServer::SetServing(bool serving) { services_->SetServing(serving); }
std::vector<v1::GenerateRequest> FakeServer::requests() const { return services_->requests(); }

bool FakeServer::WaitForCancelled(int count) const {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (services_->cancelled() != count && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return services_->cancelled() == count;
}

}  // namespace tessera::testing
