// How the choices after the first expert are made.
#pragma once

#include <cstdint>

namespace tessera {

// kDeterministic takes the largest logits. kGumbel adds Gumbel(0, 1) noise before choosing, as
// DeepSpeed 0.9.5's top-2 gate does, here sampled from (seed, layer, position, expert) so that it
// is repeatable and independent of batch mates.
enum class RouterMode : uint8_t { kDeterministic, kGumbel };

}  // namespace tessera
