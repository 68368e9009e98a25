// grpc.health.v1 over real TCP.
#include <grpcpp/generic/generic_stub.h>

#include "grpc/health/v1/health.pb.h"
#include "tests/server/http2_client.h"
#include "tests/server/server_fixture.h"

namespace tessera::testing {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// One call of Watch, read one status at a time.
class Watching {
 public:
  Watching(const std::shared_ptr<grpc::Channel>& channel, const std::string& service)
      : stub_(channel) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    call_ = stub_.PrepareCall(&context_, "/grpc.health.v1.Health/Watch", &queue_);
    call_->StartCall(nullptr);
    Next();
    HealthCheckRequest request;
    request.set_service(service);
    call_->WriteLast(request, grpc::WriteOptions(), nullptr);
    Next();
  }
  ~Watching() {
    context_.TryCancel();
    Finish();
    queue_.Shutdown();
  }

  // UNKNOWN: the call has ended.
  HealthCheckResponse::ServingStatus Read() {
    HealthCheckResponse response;
    call_->Read(&response, nullptr);
    return Next() ? response.status() : HealthCheckResponse::UNKNOWN;
  }
  grpc::Status Finish() {
    if (!finished_) {
      finished_ = true;
      call_->Finish(&status_, nullptr);
      Next();
    }
    return status_;
  }

 private:
  bool Next() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  grpc::TemplatedGenericStub<HealthCheckRequest, HealthCheckResponse> stub_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<HealthCheckRequest, HealthCheckResponse>> call_;
  grpc::Status status_;
  bool finished_ = false;
};

class HealthTest : public ServerFixture {
 protected:
  grpc::Status Check(const std::string& service) {
    HealthCheckRequest request;
    request.set_service(service);
    return RawCall(channel_, "/grpc.health.v1.Health/Check", request.SerializeAsString()).status;
  }
};

TEST_F(HealthTest, OtherServicesAreNotThere) {
  StartServer();
  const grpc::Status status = Check("tessera.v1.Other");
  EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
  EXPECT_NE(status.error_message().find("tessera.v1.Other"), std::string::npos);
  EXPECT_EQ(Check(std::string(300, 'x')).error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(HealthTest, AWatchTellsEachChange) {
  StartLoading();
  Watching whole(channel_, "");
  Watching service(channel_, "tessera.v1.GenerationService");
  EXPECT_EQ(whole.Read(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(service.Read(), HealthCheckResponse::NOT_SERVING);
  Publish();
  EXPECT_EQ(whole.Read(), HealthCheckResponse::SERVING);
  EXPECT_EQ(service.Read(), HealthCheckResponse::SERVING);
  server_->Drain(std::chrono::milliseconds(100), {});
  EXPECT_EQ(whole.Read(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(service.Read(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(whole.Read(), HealthCheckResponse::UNKNOWN) << "the port is closed";
}

TEST_F(HealthTest, AWatchOfAnUnknownServiceStays) {
  StartServer();
  Watching unknown(NewChannel(), "tessera.v1.Other");
  EXPECT_EQ(unknown.Read(), HealthCheckResponse::SERVICE_UNKNOWN);
  EXPECT_EQ(Metric("tessera_grpc_server_open_calls"), 0) << "it is no work";
}

TEST_F(HealthTest, ADrainDoesNotWaitForWatches) {
  StartServer();
  Watching watching(channel_, "");
  EXPECT_EQ(watching.Read(), HealthCheckResponse::SERVING);
  const auto start = std::chrono::steady_clock::now();
  server_->Drain(std::chrono::seconds(20), {});
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST_F(HealthTest, AWatchThatIsNotReadIsGivenUp) {
  StartServer({.write_time = std::chrono::milliseconds(300)});
  Http2Client client(server_->grpc_address(), /*answer_window=*/0);
  const uint32_t stream = client.Call("/grpc.health.v1.Health/Watch");
  client.Send(stream, Http2Client::MessageHead(0), std::chrono::seconds(1));
  EXPECT_TRUE(client.WaitForEnd(stream, std::chrono::seconds(5)));
  EXPECT_TRUE(client.connected());
}

}  // namespace
}  // namespace tessera::testing
