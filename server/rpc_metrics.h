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
  kUnknown,  // whatever else is called
};
constexpr int kRpcMethods = 6;
constexpr int kRpcCodes = 17;  // OK … UNAUTHENTICATED
std::string_view MethodName(RpcMethod method);

class RpcMetrics : public prometheus::Collectable {
 public:
  RpcMetrics();

  // Each once for a call, in this order.
  void Opened();
  // `reason`: ReasonOf() the status.
  void Answered(RpcMethod method, grpc::StatusCode code, std::string_view reason,
                std::chrono::duration<double> duration);
  void Closed();
  // Calls without an answer yet.
  int64_t open_calls() const;
  // Calls that were answered and whose last byte has not been handed to the transport.
  int64_t unread_calls() const;

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  int64_t open_calls_ = 0;
  int64_t unread_calls_ = 0;
  std::array<std::array<uint64_t, kRpcCodes>, kRpcMethods> handled_ = {};
  std::map<std::string, uint64_t, std::less<>> errors_;  // by reason
  std::array<Histogram, kRpcMethods> durations_;
};

}  // namespace tessera
