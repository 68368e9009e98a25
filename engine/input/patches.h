// Square patches of a picture, as a vision transformer's first matrix product takes them.
#pragma once

#include <span>
#include <vector>

namespace tessera {

// Cuts pixels [3, size, size] into patches [grid², 3 · patch_size²], rows of patches from the top left, each in the order of a
// convolution's weights (channel, y, x). Pixels beyond the last whole patch are left out.
std::vector<float> CutPatches(std::span<const float> pixels, int size, int patch_size);

}  // namespace tessera
