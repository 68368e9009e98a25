#include "engine/image/patches.h"

namespace tessera {

void AppendPatches(std::span<const float> pixels, int size, int left, int top, int side,
                   int patch_size, std::vector<float>& patches) {
  const int grid = side / patch_size;
  patches.reserve(patches.size() + static_cast<size_t>(3) * grid * grid * patch_size * patch_size);
  for (int row = 0; row < grid; ++row) {
    for (int col = 0; col < grid; ++col) {
      for (int channel = 0; channel < 3; ++channel) {
        for (int y = 0; y < patch_size; ++y) {
          const size_t line = static_cast<size_t>(channel) * size + top + row * patch_size + y;
          const auto begin = pixels.begin() + line * size + left + col * patch_size;
          patches.insert(patches.end(), begin, begin + patch_size);
        }
      }
    }
  }
}

}  // namespace tessera
