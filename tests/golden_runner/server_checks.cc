// The engine's answers once more through a real server: its own process's ports, protobuf, streams.
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <thread>

#include "engine/base/status.h"
#include "server/server.h"
#include "tessera/v1/generation.grpc.pb.h"
#include "tests/golden_runner/checks.h"

namespace tessera::golden {
namespace {

void AddMessages(const std::vector<Message>& messages, v1::GenerateRequest& request) {
  for (const Message& message : messages) {
    v1::Message* target = request.mutable_conversation()->add_messages();
    target->set_role(message.role == Role::kSystem      ? v1::ROLE_SYSTEM
                     : message.role == Role::kAssistant ? v1::ROLE_ASSISTANT
                                                        : v1::ROLE_USER);
    for (const auto& part : message.parts) {
      if (const auto* text = std::get_if<std::string>(&part)) {
        target->add_parts()->set_text(*text);
      } else {
        target->add_parts()->mutable_image()->set_data(std::get<EncodedImage>(part).bytes);
      }
    }
  }
}

v1::GenerateRequest ToProto(const GoldenRequest& golden) {
  v1::GenerateRequest request;
  if (const auto* raw = std::get_if<RawPrompt>(&golden.request.input)) {
    request.mutable_raw_prompt()->set_text(raw->text);
    for (const EncodedImage& image : raw->images) {
      request.mutable_raw_prompt()->add_images()->set_data(image.bytes);
    }
  } else {
    AddMessages(std::get<std::vector<Message>>(golden.request.input), request);
  }
  request.set_image_mode(golden.request.image_mode == ImageMode::kCrop ? v1::IMAGE_MODE_CROP
                                                                       : v1::IMAGE_MODE_PAD);
  request.set_parse_special_tokens(golden.request.parse_special_tokens);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_sampling()->set_max_tokens(golden.request.sampling.max_tokens);
  request.set_request_id(golden.name);
  return request;
}

std::string FinishName(v1::FinishReason reason) {
  return reason == v1::FINISH_REASON_STOP     ? "stop"
         : reason == v1::FINISH_REASON_LENGTH ? "length"
                                              : "none";
}

void RunUnary(v1::GenerationService::Stub& stub, const GoldenRequest& golden,
              const std::string& what, Report& report) {
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const grpc::Status status = stub.Generate(&context, ToProto(golden), &response);
  if (!status.ok()) {
    report.Fail(what, status.error_message());
    return;
  }
  CheckAnswer(golden, what, {response.token_ids().begin(), response.token_ids().end()},
              response.text(), FinishName(response.finish_reason()), report);
}

struct Streamed {
  grpc::Status status;
  std::vector<int32_t> tokens;
  std::string text;
  std::string finish;
};

Streamed RunStream(v1::GenerationService::Stub& stub, const GoldenRequest& golden) {
  Streamed streamed;
  grpc::ClientContext context;
  const auto reader = stub.StreamGenerate(&context, ToProto(golden));
  v1::StreamGenerateResponse response;
  while (reader->Read(&response)) {
    if (response.has_delta()) {
      const auto& ids = response.delta().token_ids();
      streamed.tokens.insert(streamed.tokens.end(), ids.begin(), ids.end());
      streamed.text += response.delta().text();
    } else if (response.has_finish()) {
      streamed.finish = FinishName(response.finish().finish_reason());
    }
  }
  streamed.status = reader->Finish();
  return streamed;
}

absl::StatusOr<std::unique_ptr<Server>> StartServer(const ModelCase& golden) {
  const ListenAddress any{"127.0.0.1", 0};
  ASSIGN_OR_RETURN(std::unique_ptr<Server> server, Server::Start(any, any));
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, golden.make_backend(DType::kFloat32));
  EngineOptions options;
  options.max_image_tokens = 0;  // the reference has no limit but the model's
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine,
                   StartEngine(std::move(backend), golden.options, options));
  server->Publish(std::move(engine), 0);
  return server;
}

}  // namespace

void CheckServer(const ModelCase& golden, Report& report) {
  auto server = StartServer(golden);
  if (!server.ok()) {
    report.Fail(golden.name + " over gRPC", std::string(StatusMessage(server.status())));
    return;
  }
  const auto stub = v1::GenerationService::NewStub(
      grpc::CreateChannel((*server)->grpc_address(), grpc::InsecureChannelCredentials()));
  for (const GoldenRequest& request : golden.requests) {
    RunUnary(*stub, request, fmt::format("{}/{} over gRPC", golden.name, request.name), report);
  }
  std::vector<Streamed> streamed(golden.requests.size());
  {
    std::vector<std::jthread> clients;
    for (size_t i = 0; i < streamed.size(); ++i) {
      clients.emplace_back([&, i] { streamed[i] = RunStream(*stub, golden.requests[i]); });
    }
  }
  for (size_t i = 0; i < streamed.size(); ++i) {
    const std::string what =
        fmt::format("{}/{} streamed together over gRPC", golden.name, golden.requests[i].name);
    if (streamed[i].status.ok()) {
      CheckAnswer(golden.requests[i], what, streamed[i].tokens, streamed[i].text,
                  streamed[i].finish, report);
    } else {
      report.Fail(what, streamed[i].status.error_message());
    }
  }
}

}  // namespace tessera::golden
