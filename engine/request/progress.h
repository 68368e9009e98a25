// How far a request has come: the stage in which it stands, its counts of tokens and its times. The
// engine thread's.
#pragma once

#include "engine/request/live_request.h"

namespace tessera {

Stage StageOf(const LiveRequest& request);

// Of a stage that is not over, the time until `now`.
Usage UsageOf(const LiveRequest& request, Clock::time_point now);

}  // namespace tessera
