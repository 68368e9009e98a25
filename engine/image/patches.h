// Square patches of an image, as a vision transformer's first matrix product takes them.
#pragma once

#include <span>
#include <vector>

namespace tessera {

// Cuts the square of `side` pixels at (left, top) of pixels [3, size, size] into patches [grid², 3
// · patch_size²] and appends them: rows of patches from the top left, each in the order of a
// convolution's weights (channel, y, x). Pixels beyond the last whole patch are left out. REQUIRES:
// the square lies inside.
void AppendPatches(std::span<const float> pixels, int size, int left, int top, int side,
                   int patch_size, std::vector<float>& patches);

}  // namespace tessera
