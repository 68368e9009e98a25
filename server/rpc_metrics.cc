#include "server/rpc_metrics.h"

#include <string>

#include "engine/base/status.h"
#include "server/metric_set.h"
#include "server/rpc_status.h"

namespace tessera {

std::string_view MethodName(RpcMethod method) {
  constexpr std::array<std::string_view, kRpcMethods> kNames = {
      "Generate", "StreamGenerate", "CountTokens",          "GetModel", "ListModels",
      "Check",    "Watch",          "ServerReflectionInfo", "unknown"};
  return kNames.at(static_cast<size_t>(method));
}

bool IsWork(RpcMethod method) {
  return method != RpcMethod::kCheckHealth && method != RpcMethod::kWatchHealth &&
         method != RpcMethod::kReflect;
}

RpcMetrics::RpcMetrics() {
  const EngineStats stats;  // for its bounds
  for (int i = 0; i < kErrorReasons; ++i) {
    errors_.emplace(ErrorReasonName(static_cast<ErrorReason>(i)), 0);
  }
  errors_.emplace(kCancelledReason, 0);
  for (Histogram& duration : durations_) duration = Histogram(stats.end_to_end.bounds);
}

void RpcMetrics::Opened(RpcMethod method) {
  const std::lock_guard lock(mutex_);
  open_calls_ += IsWork(method);
}

void RpcMetrics::Answered(RpcMethod method, grpc::StatusCode code, std::string_view reason,
                          std::chrono::duration<double> duration) {
  const std::lock_guard lock(mutex_);
  open_calls_ -= IsWork(method);
  unread_calls_ += IsWork(method);
  const auto index = static_cast<size_t>(method);
  ++handled_[index].at(static_cast<size_t>(code));
  durations_[index].Observe(duration.count());
  if (const auto error = errors_.find(reason); error != errors_.end()) ++error->second;
}

void RpcMetrics::Closed(RpcMethod method) {
  const std::lock_guard lock(mutex_);
  unread_calls_ -= IsWork(method);
}

void RpcMetrics::Abandoned() {
  const std::lock_guard lock(mutex_);
  ++abandoned_;
}

int64_t RpcMetrics::open_calls() const {
  const std::lock_guard lock(mutex_);
  return open_calls_;
}

int64_t RpcMetrics::unread_calls() const {
  const std::lock_guard lock(mutex_);
  return unread_calls_;
}

std::vector<prometheus::MetricFamily> RpcMetrics::Collect() const {
  MetricSet set;
  const std::lock_guard lock(mutex_);
  set.Gauge("tessera_grpc_server_open_calls",
            "Calls not yet answered, those of health and reflection aside.",
            static_cast<double>(open_calls_));
  set.Gauge("tessera_grpc_server_unread_calls", "Calls answered whose end was not taken yet.",
            static_cast<double>(unread_calls_));
  set.Counter("tessera_grpc_server_abandoned_calls_total",
              "Calls cancelled because their client did not read.",
              static_cast<double>(abandoned_));
  for (int method = 0; method < kRpcMethods; ++method) {
    const std::string name(MethodName(static_cast<RpcMethod>(method)));
    for (int code = 0; code < kRpcCodes; ++code) {
      set.Counter("tessera_grpc_server_handled_total", "Calls ended, by method and status code.",
                  static_cast<double>(handled_[method][code]),
                  {{"grpc_method", name},
                   {"grpc_code", std::string(CodeName(static_cast<grpc::StatusCode>(code)))}});
    }
  }
  for (const auto& [reason, count] : errors_) {
    set.Counter("tessera_grpc_server_errors_total",
                "Calls ended with an error, by its reason in google.rpc.ErrorInfo.",
                static_cast<double>(count), {{"reason", reason}});
  }
  for (int method = 0; method < kRpcMethods; ++method) {
    set.AddHistogram("tessera_grpc_server_handling_seconds", "From a call's arrival to its end.",
                     durations_[method],
                     {{"grpc_method", std::string(MethodName(static_cast<RpcMethod>(method)))}});
  }
  return set.Take();
}

}  // namespace tessera
