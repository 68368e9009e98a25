// The streams of the emulated GPU. What is queued on one is done as late as may be: when somebody
// waits for it; without a stream it is done at once.
#pragma once

#include <functional>

#include "gpu/runtime.h"

namespace tessera::gpu::emulated {

void Queue(StreamHandle stream, std::function<void()> operation);

}  // namespace tessera::gpu::emulated
