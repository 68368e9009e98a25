#include "server/rpc_guard.h"

#include <fmt/format.h>

#include <chrono>
#include <iterator>
#include <random>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "server/log.h"
#include "server/rpc_status.h"

namespace tessera {
namespace {

uint64_t RandomNumber() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return generator();
}

// gRPC's deadline on the engine's clock.
std::optional<Clock::time_point> EngineDeadline(const grpc::CallbackServerContext& context) {
  const gpr_timespec deadline = context.raw_deadline();
  if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0) return std::nullopt;
  const gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
  if (gpr_time_cmp(left, gpr_time_from_hours(24 * 365, GPR_TIMESPAN)) > 0) return std::nullopt;
  return Clock::now() + std::chrono::seconds(left.tv_sec) + std::chrono::nanoseconds(left.tv_nsec);
}

std::string_view FinishName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return "none";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kDeadline:
      return "deadline";
  }
  return "none";
}

}  // namespace

RpcGuard::RpcGuard(RpcMetrics& metrics, RpcMethod method, grpc::CallbackServerContext* context)
    : metrics_(metrics), method_(method), peer_(context->peer()), context_(context) {
  call_.request_id = fmt::format("req-{:016x}", RandomNumber());
  call_.seed = RandomNumber();
  call_.deadline = EngineDeadline(*context);
  metrics_.Opened(method);
}

RpcGuard::~RpcGuard() { metrics_.Closed(method_); }

void RpcGuard::Abandon() {
  metrics_.Abandoned();
  context_->TryCancel();
}

void RpcGuard::TakeRequestId(const std::string& id) {
  if (!id.empty() && CheckRequestId(id).ok()) call_.request_id = id;
}

// The client's clock runs out before ours: its timeout was on the way for a while, and gRPC rounds
// what it sends up by as much as a hundredth.
bool RpcGuard::DeadlinePassed() const {
  if (!call_.deadline) return false;
  const Clock::duration ahead = std::chrono::milliseconds(20) + (*call_.deadline - start_) / 100;
  return Clock::now() + ahead >= *call_.deadline;
}

Completion RpcGuard::Lost() const {
  return {.status = absl::OkStatus(),
          .finish_reason = DeadlinePassed() ? FinishReason::kDeadline : FinishReason::kCancelled,
          .usage = {}};
}

absl::Status FinalStatus(const Completion& completion) {
  if (!completion.status.ok()) return completion.status;
  switch (completion.finish_reason) {
    case FinishReason::kCancelled:
      return absl::CancelledError("the caller cancelled");
    case FinishReason::kDeadline:
      return RequestError(absl::StatusCode::kDeadlineExceeded, ErrorReason::kDeadlineExceeded, "",
                          "the deadline passed before the answer was complete");
    default:
      return absl::OkStatus();
  }
}

grpc::Status RpcGuard::Answer(const absl::Status& status) {
  return Answer(Completion{.status = status, .finish_reason = FinishReason::kNone, .usage = {}});
}

grpc::Status RpcGuard::Answer(const Completion& completion) {
  const absl::Status status = FinalStatus(completion);
  const std::chrono::duration<double> duration = Clock::now() - start_;
  const grpc::Status answer = ToRpcStatus(status, call_.request_id);
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    // Clients that retry by themselves wait this long (gRFC A6).
    if (const auto delay = RetryDelay(status)) {
      context_->AddTrailingMetadata("grpc-retry-pushback-ms", std::to_string(delay->count()));
    }
  }
  metrics_.Answered(method_, answer.error_code(), ReasonOf(status), duration);
  Log(completion, status, duration.count());
  return answer;
}

void RpcGuard::Log(const Completion& completion, const absl::Status& status, double seconds) const {
  const Usage& usage = completion.usage;
  const std::string reason = status.ok() ? "-" : ReasonOf(status);
  const std::string field = StatusField(status);
  const std::string error(StatusMessage(status));
  std::vector<LogField> fields = {
      {"id", call_.request_id},
      {"method", LogWord{MethodName(method_)}},
      {"peer", peer_},
      {"code", LogWord{CodeName(static_cast<grpc::StatusCode>(status.code()))}},
      {"reason", LogWord{reason}},
      {"finish", LogWord{FinishName(completion.finish_reason)}},
      {"stage", LogWord{completion.stage ? StageName(*completion.stage) : stage_}}};
  if (!field.empty()) fields.push_back({"field", field});
  const LogField counts[] = {{"text_tokens", int64_t{usage.text_tokens}},
                             {"image_tokens", int64_t{usage.image_tokens}},
                             {"cached_tokens", int64_t{usage.cached_tokens}},
                             {"generated_tokens", int64_t{usage.generated_tokens}},
                             {"queue_ms", usage.queue_ms},
                             {"preprocess_ms", usage.preprocess_ms},
                             {"encode_ms", usage.encode_ms},
                             {"prefill_ms", usage.prefill_ms},
                             {"decode_ms", usage.decode_ms}};
  fields.insert(fields.end(), std::begin(counts), std::end(counts));
  if (usage.first_token_ms) fields.push_back({"ttft_ms", *usage.first_token_ms});
  fields.push_back({"ms", seconds * 1e3});
  const bool fault =
      status.code() == absl::StatusCode::kInternal || status.code() == absl::StatusCode::kUnknown;
  if (fault) fields.push_back({"error", error});
  const auto level = IsWork(method_) ? spdlog::level::info : spdlog::level::debug;
  tessera::Log(fault ? spdlog::level::err : level, "request", fields);
}

}  // namespace tessera
