// Widens stored floats to float32.
#pragma once

#include <vector>

#include "engine/backend/tensor.h"

namespace tessera {

// Every element of a float32, bfloat16 or float16 tensor, at any address.
std::vector<float> ToFloats(const HostTensor& tensor);

}  // namespace tessera
