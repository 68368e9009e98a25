// A server on a loopback port that answers as a test tells it to, with no model behind it. Over
// real TCP, so that trailers, limits and cancels behave as they do in service.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tessera/v1/generation.pb.h"

namespace tessera::testing {

// What the server does with every request from now on.
struct Script {
  // One delta each, with the token ids 100, 101, …
  std::vector<std::string> deltas = {"Hello", ", world"};
  // Before each delta.
  std::chrono::milliseconds pace{0};
  v1::FinishReason finish_reason = v1::FINISH_REASON_STOP;
  // An OK stream without its finish event: what a broken server does.
  bool omit_finish = false;
  // A gRPC code other than 0 ends the call after the deltas, or before the prompt event when
  // `fail_first`.
  int error_code = 0;
  bool fail_first = true;
  std::string error_message = {};
  std::string error_reason = {};
  std::string error_field = {};
  double retry_after_s = 0;
  // So many calls fail with UNAVAILABLE before this script is followed.
  int unavailable_calls = 0;
};

class FakeServer {
 public:
  FakeServer();
  ~FakeServer();

  // "127.0.0.1:PORT".
  const std::string& address() const { return address_; }

  void Follow(const Script& script);

  // What grpc.health.v1 says.
  void SetServing(bool serving);

  // Of Generate and StreamGenerate, in order.
  std::vector<v1::GenerateRequest> requests() const;

  // Waits until `count` streams have ended because the client cancelled them; false: not within 5
  // s.
  bool WaitForCancelled(int count) const;

 private:
  class Services;

  std::unique_ptr<Services> services_;
  std::string address_;
};

}  // namespace tessera::testing
