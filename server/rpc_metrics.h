// Calls counted by method and code, and their durations. Thread-safe.
#pragma once

#include <grpcpp/support/status.h>
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "engine/api/stats.h"

namespace tessera {

enum class RpcMethod : uint8_t {
  kGenerate,
  kStreamGenerate,
  kCountTokens,
  kGetModel,
  kListModels,
  kCheckHealth,
  kWatchHealth,
  kReflect,
  kUnknown,  // whatever else is called
};
constexpr int kRpcMethods = 9;
constexpr int kRpcCodes = 17;  // OK … UNAUTHENTICATED
std::string_view MethodName(RpcMethod method);
// Whether the server's end waits for it: for those who ask of the server itself it does not.
bool IsWork(RpcMethod method);

class RpcMetrics : public prometheus::Collectable {
 public:
  RpcMetrics();

  // Each once for a call, in this order.
  void Opened(RpcMethod method);
  // `reason`: ReasonOf() the status.
  void Answered(RpcMethod method, grpc::StatusCode code, std::string_view reason,
                std::chrono::duration<double> duration);
  void Closed(RpcMethod method);
  // It was cancelled because its client did not read. Before Closed().
  void Abandoned();
  // Work (IsWork) without an answer yet.
  int64_t open_calls() const;
  // Work that was answered and whose last byte has not been handed to the transport.
  int64_t unread_calls() const;

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  int64_t open_calls_ = 0;
  int64_t unread_calls_ = 0;
  uint64_t abandoned_ = 0;
  std::array<std::array<uint64_t, kRpcCodes>, kRpcMethods> handled_ = {};
  std::map<std::string, uint64_t, std::less<>> errors_;  // by reason
  std::array<Histogram, kRpcMethods> durations_;
};

}  // namespace tessera
