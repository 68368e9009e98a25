// The orderly end of an engine's service: no new work, what runs may finish and be read, the rest
// is ended with a reason. Tests: tests/server/server_test.cc.
#pragma once

#include <cstdint>
#include <stop_token>

#include "engine/engine.h"
#include "server/rpc_metrics.h"

namespace tessera {

struct DrainReport {
  int64_t aborted = 0;  // calls without an answer that the deadline, or haste, has cut
  int64_t unread = 0;   // calls, also of those, whose end nobody took
};

// Lets open calls end until `deadline` or until `hurry`, then has the engine end them with
// SHUTDOWN_ABORTED and gives their readers a moment. Afterwards the engine does nothing more.
// `engine` may be null.
DrainReport Drain(Engine* engine, const RpcMetrics& calls, Clock::time_point deadline,
                  const std::stop_token& hurry);

}  // namespace tessera
