#include "server/reflection.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/message.h>
#include <grpcpp/support/status_code_enum.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "grpc/health/v1/health.pb.h"
#include "tessera/v1/generation.pb.h"
#include "tessera/v1/model.pb.h"

namespace tessera {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using grpc::reflection::v1::ExtensionRequest;
using grpc::reflection::v1::FileDescriptorResponse;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

const DescriptorPool& Pool() { return *DescriptorPool::generated_pool(); }

// Those whose services are served.
std::vector<const FileDescriptor*> ServedFiles() {
  return {grpc::health::v1::HealthCheckRequest::descriptor()->file(),
          ServerReflectionRequest::descriptor()->file(), v1::GenerateRequest::descriptor()->file(),
          v1::GetModelRequest::descriptor()->file()};
}

void NotFound(const std::string& what, ServerReflectionResponse& response) {
  response.mutable_error_response()->set_error_code(grpc::StatusCode::NOT_FOUND);
  response.mutable_error_response()->set_error_message(fmt::format("there is no {}", what));
}

void AppendWithImports(const FileDescriptor& file, std::set<const FileDescriptor*>& seen,
                       FileDescriptorResponse& files) {
  if (!seen.insert(&file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  files.add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) {
    AppendWithImports(*file.dependency(i), seen, files);
  }
}

// `what`: as it was asked for.
void AnswerFile(const FileDescriptor* file, const std::string& what,
                ServerReflectionResponse& response) {
  if (file == nullptr) return NotFound(what, response);
  std::set<const FileDescriptor*> seen;
  AppendWithImports(*file, seen, *response.mutable_file_descriptor_response());
}

const FileDescriptor* FileOfExtension(const ExtensionRequest& asked) {
  const Descriptor* type = Pool().FindMessageTypeByName(asked.containing_type());
  if (type == nullptr) return nullptr;
  const FieldDescriptor* field = Pool().FindExtensionByNumber(type, asked.extension_number());
  return field == nullptr ? nullptr : field->file();
}

void AnswerExtensions(const std::string& name, ServerReflectionResponse& response) {
  const Descriptor* type = Pool().FindMessageTypeByName(name);
  if (type == nullptr) return NotFound(fmt::format("message {}", name), response);
  std::vector<const FieldDescriptor*> extensions;
  Pool().FindAllExtensions(type, &extensions);
  auto* answer = response.mutable_all_extension_numbers_response();
  answer->set_base_type_name(name);
  for (const FieldDescriptor* extension : extensions) {
    answer->add_extension_number(extension->number());
  }
}

void AnswerServices(ServerReflectionResponse& response) {
  auto* services = response.mutable_list_services_response();
  for (const FileDescriptor* file : ServedFiles()) {
    for (int i = 0; i < file->service_count(); ++i) {
      services->add_service()->set_name(file->service(i)->full_name());
    }
  }
}

}  // namespace

void BuildDescriptors() {
  auto& factory = *google::protobuf::MessageFactory::generated_factory();
  for (const FileDescriptor* file : ServedFiles()) {
    for (int i = 0; i < file->message_type_count(); ++i) {
      factory.GetPrototype(file->message_type(i))->SpaceUsedLong();
    }
  }
}

ServerReflectionResponse Reflect(ServerReflectionRequest request) {
  ServerReflectionResponse response;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename: {
      const std::string& name = request.file_by_filename();
      AnswerFile(Pool().FindFileByName(name), fmt::format("file {}", name), response);
      break;
    }
    case ServerReflectionRequest::kFileContainingSymbol: {
      const std::string& name = request.file_containing_symbol();
      AnswerFile(Pool().FindFileContainingSymbol(name), fmt::format("symbol {}", name), response);
      break;
    }
    case ServerReflectionRequest::kFileContainingExtension: {
      const ExtensionRequest& asked = request.file_containing_extension();
      AnswerFile(
          FileOfExtension(asked),
          fmt::format("extension {} of {}", asked.extension_number(), asked.containing_type()),
          response);
      break;
    }
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      AnswerExtensions(request.all_extension_numbers_of_type(), response);
      break;
    case ServerReflectionRequest::kListServices:
      AnswerServices(response);
      break;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      response.mutable_error_response()->set_error_code(grpc::StatusCode::INVALID_ARGUMENT);
      response.mutable_error_response()->set_error_message("the request asks for nothing");
      break;
  }
  response.set_valid_host(request.host());
  *response.mutable_original_request() = std::move(request);
  return response;
}

}  // namespace tessera
