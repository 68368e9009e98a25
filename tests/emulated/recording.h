// The one stream of the emulated GPU: what is queued on it is done at once, or kept while it is being recorded.
#pragma once

#include <functional>

namespace tessera::gpu::emulated {

void Queue(std::function<void()> operation);

}  // namespace tessera::gpu::emulated
