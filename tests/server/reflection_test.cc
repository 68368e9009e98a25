#include "server/reflection.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>

#include "tests/server/server_fixture.h"

namespace tessera::testing {
namespace {

using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

ServerReflectionRequest AskForSymbol(const std::string& name) {
  ServerReflectionRequest request;
  request.set_file_containing_symbol(name);
  return request;
}

TEST(ReflectionTest, AClientCanBuildTheServicesFromIt) {
  ServerReflectionRequest list;
  list.set_list_services("*");
  google::protobuf::DescriptorPool pool;
  const ServerReflectionResponse services = Reflect(list);
  for (const auto& service : services.list_services_response().service()) {
    const ServerReflectionResponse response = Reflect(AskForSymbol(service.name()));
    const auto& files = response.file_descriptor_response().file_descriptor_proto();
    // What a file imports stands behind it.
    for (auto file = files.rbegin(); file != files.rend(); ++file) {
      google::protobuf::FileDescriptorProto proto;
      ASSERT_TRUE(proto.ParseFromString(*file));
      if (pool.FindFileByName(proto.name()) == nullptr) {
        EXPECT_NE(pool.BuildFile(proto), nullptr) << proto.name();
      }
    }
    EXPECT_NE(pool.FindServiceByName(service.name()), nullptr) << service.name();
  }
  for (const char* name : {"tessera.v1.GenerationService", "tessera.v1.ModelService",
                           "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"}) {
    EXPECT_NE(pool.FindServiceByName(name), nullptr) << name;
  }
}

TEST(ReflectionTest, FilesAndMethodsAreFoundByName) {
  ServerReflectionRequest request;
  request.set_file_by_filename("tessera/v1/model.proto");
  request.set_host("here");
  const ServerReflectionResponse response = Reflect(request);
  EXPECT_GT(response.file_descriptor_response().file_descriptor_proto_size(), 0);
  EXPECT_EQ(response.valid_host(), "here");
  EXPECT_EQ(response.original_request().file_by_filename(), "tessera/v1/model.proto");
  EXPECT_TRUE(Reflect(AskForSymbol("tessera.v1.GenerationService.StreamGenerate"))
                  .has_file_descriptor_response());
}

TEST(ReflectionTest, ExtensionsAreTold) {
  ServerReflectionRequest request;
  request.set_all_extension_numbers_of_type("google.protobuf.FieldOptions");
  EXPECT_EQ(Reflect(request).all_extension_numbers_response().base_type_name(),
            "google.protobuf.FieldOptions");
  request.mutable_file_containing_extension()->set_containing_type("google.protobuf.FieldOptions");
  request.mutable_file_containing_extension()->set_extension_number(77);
  EXPECT_EQ(Reflect(request).error_response().error_code(), grpc::NOT_FOUND);
}

TEST(ReflectionTest, WhatIsNotThereIsAnErrorOfThatRequestAlone) {
  const ServerReflectionResponse response = Reflect(AskForSymbol("tessera.v1.Nothing"));
  EXPECT_EQ(response.error_response().error_code(), grpc::NOT_FOUND);
  EXPECT_NE(response.error_response().error_message().find("tessera.v1.Nothing"),
            std::string::npos);
  EXPECT_EQ(Reflect({}).error_response().error_code(), grpc::INVALID_ARGUMENT);
  ServerReflectionRequest request;
  request.set_all_extension_numbers_of_type("no.Message");
  EXPECT_EQ(Reflect(request).error_response().error_code(), grpc::NOT_FOUND);
}

class ReflectionCallTest : public ServerFixture {};

TEST_F(ReflectionCallTest, OneCallAnswersManyRequestsAndEndsWithTheClient) {
  StartLoading();  // it answers before the model is there
  for (const char* version : {"v1", "v1alpha"}) {
    grpc::CompletionQueue queue;
    const auto next = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    grpc::TemplatedGenericStub<ServerReflectionRequest, ServerReflectionResponse> stub(channel_);
    const std::string method =
        std::string("/grpc.reflection.") + version + ".ServerReflection/ServerReflectionInfo";
    const auto call = stub.PrepareCall(&context, method, &queue);
    call->StartCall(nullptr);
    ASSERT_TRUE(next());
    for (const char* symbol : {"tessera.v1.GenerateRequest", "nothing", "tessera.v1.Model"}) {
      call->Write(AskForSymbol(symbol), nullptr);
      ASSERT_TRUE(next());
      ServerReflectionResponse response;
      call->Read(&response, nullptr);
      ASSERT_TRUE(next()) << version << " " << symbol;
      EXPECT_EQ(response.original_request().file_containing_symbol(), symbol);
    }
    call->WritesDone(nullptr);
    ASSERT_TRUE(next());
    grpc::Status status;
    call->Finish(&status, nullptr);
    ASSERT_TRUE(next());
    EXPECT_TRUE(status.ok()) << status.error_message();
    queue.Shutdown();
  }
}

TEST_F(ReflectionCallTest, LongRequestsAreRefused) {
  StartServer();
  const std::string request = AskForSymbol(std::string(5000, 'x')).SerializeAsString();
  const RawAnswer answer =
      RawCall(channel_, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", request);
  EXPECT_EQ(answer.status.error_code(), grpc::RESOURCE_EXHAUSTED);
}

}  // namespace
}  // namespace tessera::testing
