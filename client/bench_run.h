// Puts load on a server and notes when what came back. Closed loop: always `concurrency` requests
// in flight. Open loop: requests arrive at `rate` whether the server keeps up or not, so that
// waiting shows.
//
// One thread starts the requests; gRPC's threads note the events, each request's one after the
// other.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/bench_workload.h"
#include "client/client.h"
#include "client/terminal.h"

namespace tessera {

struct LoadOptions {
  // Requests to start at most; fewer when `duration` ends first.
  int requests = 100;
  // Requests in flight at most; 0: no limit (open loop only).
  int concurrency = 8;
  // Requests per second; 0: closed loop.
  double rate = 0;
  // No request starts later.
  absl::Duration duration = absl::InfiniteDuration();
  // Of each request that has no deadline of its own.
  absl::Duration timeout = absl::InfiniteDuration();
};

// Tokens that came in one event. Seconds count from the run's start, here and below.
struct TokenChunk {
  double at_s = 0;
  int tokens = 0;
};

// What became of one request.
struct Outcome {
  double start_s = 0;
  double end_s = 0;
  std::vector<TokenChunk> chunks;
  v1::Usage usage;
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string error;
  // How often the call has ended; anything but 1 is an error.
  int final_statuses = 0;
  // The events came as the API promises, and an OK came after a finish.
  bool in_order = true;
};

struct LoadResult {
  // In the order in which they ended. Shorter than `started` if requests never ended.
  std::vector<Outcome> outcomes;
  int started = 0;
  int most_in_flight = 0;
  double seconds = 0;
};

// Returns when all requests have ended, or 10 s after the last should have. `stop` starts no more
// and cancels those in flight.
LoadResult RunLoad(Client& client, Workload& workload, const LoadOptions& options,
                   std::stop_token stop, ProgressBar& progress);

}  // namespace tessera
