// What a test wants to see of a forward pass; production passes none.
#pragma once

#include <vector>

namespace tessera {

struct Trace {
  // [layers + 1] of [T, hidden]: what enters the first layer, then what leaves each; the last after
  // the final norm.
  std::vector<std::vector<float>> hidden;
  // [routed layers] of [T, experts].
  std::vector<std::vector<float>> router_logits;
};

}  // namespace tessera
