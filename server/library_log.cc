#include "server/library_log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <spdlog/spdlog.h>

#include <string>
#include <string_view>

#include "server/last_words.h"

namespace tessera {
namespace {

// What gRPC says before it calls abort(), for instance where it was given no thread.
constexpr std::string_view kGrpcGivesUp = "assertion failed";

// Its other errors may be a client's, e.g. a header that it cannot parse.
void LogGrpc(gpr_log_func_args* line) {
  const bool error = line->severity == GPR_LOG_SEVERITY_ERROR;
  spdlog::log(error ? spdlog::level::warn : spdlog::level::debug, "grpc: {}", line->message);
  if (error && std::string_view(line->message).starts_with(kGrpcGivesUp)) {
    EndIfThreadsHaveRunOut(line->message);
  }
}

// Its errors that are not fatal are about messages of clients, who are told themselves.
void LogProtobuf(google::protobuf::LogLevel level, const char*, int, const std::string& message) {
  const bool fatal = level == google::protobuf::LOGLEVEL_FATAL;
  spdlog::log(fatal ? spdlog::level::err : spdlog::level::debug, "protobuf: {}", message);
}

}  // namespace

void TakeLibraryLogs() {
  gpr_set_log_function(LogGrpc);
  google::protobuf::SetLogHandler(LogProtobuf);
}

}  // namespace tessera
