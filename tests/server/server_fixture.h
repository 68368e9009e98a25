// A server with a FakeEngine on free ports of 127.0.0.1, and a client's channel to it over real
// TCP: the in-process channel does not enforce what the network does.
#pragma once

#include <google/protobuf/any.pb.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/server.h"
#include "tessera/v1/generation.grpc.pb.h"
#include "tessera/v1/model.grpc.pb.h"
#include "tests/server/raw_client.h"
#include "tests/testing/fake_engine.h"

namespace tessera::testing {

class ServerFixture : public ::testing::Test {
 protected:
  // Still loading: Publish() is the test's.
  void StartLoading(const ConnectionOptions& options = {}, const std::string& host = "127.0.0.1") {
    const ListenAddress any{.host = "127.0.0.1", .port = 0};
    auto server = Server::Start({.host = host, .port = 0}, any, options);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = NewChannel();
    generation_ = v1::GenerationService::NewStub(channel_);
    models_ = v1::ModelService::NewStub(channel_);
  }

  // Of the series on the metrics page, a name with its labels; -1 when it is not there.
  double Metric(const std::string& series) const {
    RawClient client(server_->http_address());
    client.Connect().Send("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const std::string page = client.ReadAll();
    const size_t at = page.find("\n" + series + " ");
    return at == std::string::npos ? -1 : std::stod(page.substr(at + series.size() + 2));
  }

  // With a connection of its own.
  std::shared_ptr<grpc::Channel> NewChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(-1);
    return grpc::CreateCustomChannel(server_->grpc_address(), grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  void Publish(int64_t max_memory = int64_t{512} << 20) {
    auto engine = std::make_unique<FakeEngine>(max_memory);
    engine_ = engine.get();
    server_->Publish(std::move(engine), 0.5);
  }

  void StartServer(const ConnectionOptions& options = {}, const std::string& host = "127.0.0.1") {
    StartLoading(options, host);
    if (server_) Publish();
  }

  std::unique_ptr<Server> server_;
  FakeEngine* engine_ = nullptr;  // the server's
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::GenerationService::Stub> generation_;
  std::unique_ptr<v1::ModelService::Stub> models_;
};

inline v1::GenerateRequest Question(const std::string& text = "What is this?") {
  v1::GenerateRequest request;
  v1::Message* message = request.mutable_conversation()->add_messages();
  message->set_role(v1::ROLE_USER);
  message->add_parts()->set_text(text);
  return request;
}

// The detail of type T in an error's trailer, if there is one.
template <typename T>
std::optional<T> Detail(const grpc::Status& status) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return std::nullopt;
  for (const google::protobuf::Any& any : details.details()) {
    T detail;
    if (any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

inline std::string Reason(const grpc::Status& status) {
  const auto info = Detail<google::rpc::ErrorInfo>(status);
  return info ? info->domain() + "/" + info->reason() : "";
}

struct RawAnswer {
  grpc::Status status;
  std::string bytes;  // of the first message
};

// Sends one message of any bytes to any method and reads one back.
inline RawAnswer RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                         const std::string& bytes) {
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  const auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  grpc::GenericStub stub(channel);
  const auto call = stub.PrepareCall(&context, method, &queue);
  call->StartCall(nullptr);
  RawAnswer answer;
  if (next()) {
    const grpc::Slice slice(bytes);
    call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
    next();
    grpc::ByteBuffer received;
    call->Read(&received, nullptr);
    if (next()) {
      std::vector<grpc::Slice> slices;
      EXPECT_TRUE(received.Dump(&slices).ok());
      for (const auto& part : slices) {
        answer.bytes.append(reinterpret_cast<const char*>(part.begin()), part.size());
      }
    }
  }
  if (!answer.bytes.empty()) context.TryCancel();  // a stream would stay open
  call->Finish(&answer.status, nullptr);
  next();
  if (!answer.bytes.empty()) answer.status = grpc::Status::OK;
  queue.Shutdown();
  return answer;
}

}  // namespace tessera::testing
