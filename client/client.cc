#include "client/client.h"

#include <fmt/format.h>
#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <future>
#include <utility>

#include "client/call_status.h"
#include "tessera/v1/generation.grpc.pb.h"
#include "tessera/v1/model.grpc.pb.h"

namespace tessera {
namespace {

// A request with its images; also what an answer with many log-probabilities stays below.
constexpr int kMaxMessageBytes = 512 << 20;
constexpr int kKeepaliveMs = 30'000;
constexpr int kKeepaliveTimeoutMs = 10'000;

absl::Status ToStatus(const grpc::Status& status) {
  return CallStatus(status.error_code(), status.error_message(), status.error_details());
}

// gRPC's service config: https://github.com/grpc/proposal/blob/master/A6-client-retries.md.
std::string ServiceConfig(int max_attempts) {
  return fmt::format(R"({{"methodConfig": [{{
    "name": [{{"service": "tessera.v1.GenerationService"}}, {{"service": "tessera.v1.ModelService"}}],
    "retryPolicy": {{"maxAttempts": {}, "initialBackoff": "0.1s", "maxBackoff": "2s",
                    "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}}}]}})",
                     max_attempts);
}

grpc::ChannelArguments ChannelArguments(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  // A long prefill sends nothing; keep asking all the same.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (options.max_attempts > 1) {
    arguments.SetServiceConfigJSON(ServiceConfig(options.max_attempts));
    // The default, 256 KiB, would leave every request with an image without retries.
    arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, kMaxMessageBytes);
  } else {
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  }
  return arguments;
}

// A call's context with its deadline, cancelled when the caller says stop. Lives as long as the
// call.
class CallContext {
 public:
  explicit CallContext(const CallOptions& options)
      : cancel_(options.stop, [this] { context_.TryCancel(); }) {
    if (options.timeout == absl::InfiniteDuration()) return;
    context_.set_deadline(absl::ToChronoTime(absl::Now() + options.timeout));
  }

  grpc::ClientContext* get() { return &context_; }

 private:
  grpc::ClientContext context_;
  std::stop_callback<std::function<void()>> cancel_;
};

// One asynchronous stream; holds itself until it is done.
class Stream : public grpc::ClientReadReactor<v1::StreamGenerateResponse> {
 public:
  Stream(const v1::GenerateRequest& request, const CallOptions& options, Client::OnEvent on_event,
         Client::OnDone on_done)
      : request_(request),
        context_(options),
        on_event_(std::move(on_event)),
        on_done_(std::move(on_done)) {}

  static void Start(std::shared_ptr<Stream> stream, v1::GenerationService::Stub* stub) {
    Stream& self = *stream;
    self.self_ = std::move(stream);
    stub->async()->StreamGenerate(self.context_.get(), &self.request_, &self);
    self.StartRead(&self.event_);
    self.StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    on_event_(event_);
    StartRead(&event_);
  }

  // The context goes first: it holds the channel, and a channel that dies on gRPC's callback thread
  // (gRPC 1.51) frees the queue which that thread still reads.
  void OnDone(const grpc::Status& status) override {
    const absl::Status ended = ToStatus(status);
    const Client::OnDone on_done = std::move(on_done_);
    self_.reset();
    on_done(ended);
  }

 private:
  v1::GenerateRequest request_;
  CallContext context_;
  Client::OnEvent on_event_;
  Client::OnDone on_done_;
  v1::StreamGenerateResponse event_;
  std::shared_ptr<Stream> self_;
};

}  // namespace

struct Client::Stubs {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::GenerationService::Stub> generation;
  std::unique_ptr<v1::ModelService::Stub> model;
};

Client::Client(std::unique_ptr<Stubs> stubs) : stubs_(std::move(stubs)) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const std::string& address,
                                                        const ClientOptions& options) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == address.size()) {
    return absl::InvalidArgumentError(
        fmt::format("address \"{}\": write HOST:PORT, such as 127.0.0.1:50051", address));
  }
  if (options.max_attempts < 1 || options.max_attempts > 5) {
    return absl::InvalidArgumentError(
        fmt::format("max_attempts is {}: must be 1 to 5", options.max_attempts));
  }
  auto stubs = std::make_unique<Stubs>();
  stubs->channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(),
                                             ChannelArguments(options));
  stubs->generation = v1::GenerationService::NewStub(stubs->channel);
  stubs->model = v1::ModelService::NewStub(stubs->channel);
  return std::unique_ptr<Client>(new Client(std::move(stubs)));
}

absl::StatusOr<v1::GenerateResponse> Client::Generate(const v1::GenerateRequest& request,
                                                      const CallOptions& options) {
  CallContext context(options);
  v1::GenerateResponse response;
  const grpc::Status status = stubs_->generation->Generate(context.get(), request, &response);
  if (!status.ok()) return ToStatus(status);
  return response;
}

absl::Status Client::StreamGenerate(const v1::GenerateRequest& request, const CallOptions& options,
                                    const OnEvent& on_event) {
  CallContext context(options);
  const auto reader = stubs_->generation->StreamGenerate(context.get(), request);
  v1::StreamGenerateResponse event;
  while (reader->Read(&event)) on_event(event);
  return ToStatus(reader->Finish());
}

void Client::StartStreamGenerate(const v1::GenerateRequest& request, const CallOptions& options,
                                 OnEvent on_event, OnDone on_done) {
  Stream::Start(std::make_shared<Stream>(request, options, std::move(on_event), std::move(on_done)),
                stubs_->generation.get());
}

absl::StatusOr<v1::CountTokensResponse> Client::CountTokens(const v1::CountTokensRequest& request,
                                                            const CallOptions& options) {
  CallContext context(options);
  v1::CountTokensResponse response;
  const grpc::Status status = stubs_->generation->CountTokens(context.get(), request, &response);
  if (!status.ok()) return ToStatus(status);
  return response;
}

absl::StatusOr<v1::Model> Client::GetModel(const std::string& name, const CallOptions& options) {
  CallContext context(options);
  v1::GetModelRequest request;
  request.set_model(name);
  v1::GetModelResponse response;
  const grpc::Status status = stubs_->model->GetModel(context.get(), request, &response);
  if (!status.ok()) return ToStatus(status);
  return std::move(*response.mutable_model());
}

absl::StatusOr<v1::ListModelsResponse> Client::ListModels(const CallOptions& options) {
  CallContext context(options);
  v1::ListModelsResponse response;
  const grpc::Status status = stubs_->model->ListModels(context.get(), {}, &response);
  if (!status.ok()) return ToStatus(status);
  return response;
}

// HealthCheckRequest is one string and HealthCheckResponse one enum, both field 1: on the wire they
// are the wrapper messages that protobuf brings, so no copy of health.proto is needed.
absl::StatusOr<ServingStatus> Client::Health(const std::string& service,
                                             const CallOptions& options) {
  grpc::TemplatedGenericStub<google::protobuf::StringValue, google::protobuf::Int32Value> stub(
      stubs_->channel);
  CallContext context(options);
  google::protobuf::StringValue request;
  request.set_value(service);
  google::protobuf::Int32Value response;
  std::promise<grpc::Status> done;
  stub.UnaryCall(context.get(), "/grpc.health.v1.Health/Check", {}, &request, &response,
                 [&done](grpc::Status status) { done.set_value(std::move(status)); });
  if (const grpc::Status status = done.get_future().get(); !status.ok()) return ToStatus(status);
  const int value = response.value();
  return value >= 0 && value <= 3 ? static_cast<ServingStatus>(value) : ServingStatus::kUnknown;
}

}  // namespace tessera
