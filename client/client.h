// The C++ client of a Tessera server: one channel, safe to use from many threads.
//
// Failed calls return the server's status with its details (call_status.h). Calls that fail with
// UNAVAILABLE before their first answer are tried again; those that have begun to answer never are.
// Every call can be cancelled from any thread through its CallOptions::stop and then ends with
// CANCELLED.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tessera/v1/generation.pb.h"
#include "tessera/v1/model.pb.h"

namespace tessera {

struct ClientOptions {
  // How often a call is tried at most, 1 to 5; the waits between are 0.1, 0.2, 0.4 … seconds unless
  // the server names another.
  int max_attempts = 4;
};

struct CallOptions {
  // From the call's start to its end, retries included; then DEADLINE_EXCEEDED.
  absl::Duration timeout = absl::InfiniteDuration();
  // Cancels the call when stopped.
  std::stop_token stop = {};
};

// As in grpc.health.v1.
enum class ServingStatus { kUnknown = 0, kServing = 1, kNotServing = 2, kServiceUnknown = 3 };

class Client {
 public:
  using OnEvent = std::function<void(const v1::StreamGenerateResponse&)>;
  using OnDone = std::function<void(const absl::Status&)>;

  // `address` is HOST:PORT or another gRPC target ("dns:///…", "unix:…"). Does not wait for the
  // server: the first call does. INVALID_ARGUMENT for an address or options that cannot be right.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const std::string& address,
                                                         const ClientOptions& options = {});
  ~Client();

  absl::StatusOr<v1::GenerateResponse> Generate(const v1::GenerateRequest& request,
                                                const CallOptions& options = {});

  // Calls `on_event` in this thread for each event, in order, and returns when the call has ended.
  absl::Status StreamGenerate(const v1::GenerateRequest& request, const CallOptions& options,
                              const OnEvent& on_event);

  // Returns at once. Calls `on_event` for each event, in order, then `on_done` exactly once, from
  // gRPC's threads and never two at a time; they must not block. The client must
  // live until `on_done` is called.
  void StartStreamGenerate(const v1::GenerateRequest& request, const CallOptions& options,
                           OnEvent on_event, OnDone on_done);

  absl::StatusOr<v1::CountTokensResponse> CountTokens(const v1::CountTokensRequest& request,
                                                      const CallOptions& options = {});

  // The model of that name; empty: the one that is served.
  absl::StatusOr<v1::Model> GetModel(const std::string& name, const CallOptions& options = {});

  absl::StatusOr<v1::ListModelsResponse> ListModels(const CallOptions& options = {});

  // grpc.health.v1's Check; an empty `service` asks for the whole server. NOT_FOUND for a service
  // that the server does not know.
  absl::StatusOr<ServingStatus> Health(const std::string& service, const CallOptions& options = {});

 private:
  struct Stubs;

  explicit Client(std::unique_ptr<Stubs> stubs);

  std::unique_ptr<Stubs> stubs_;
};

}  // namespace tessera
