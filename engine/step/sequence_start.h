// An accepted request and its prepared prompt → a sequence that the scheduler can take.
#pragma once

#include "engine/load/loaded_model.h"
#include "engine/request/live_request.h"

namespace tessera {

// Sets the request's sequence, end tokens and places for encoded images. The salt of the block
// hashes covers whatever else keys the contents of the KV cache: the request's own salt, whether
// image prompts are scaled, and the seed where routing is random.
void StartSequence(const LoadedModel& model, RouterMode router, PreparedPrompt prompt,
                   int32_t max_rows, LiveRequest& request);

}  // namespace tessera
