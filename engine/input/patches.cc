#include "engine/input/patches.h"

namespace tessera {

std::vector<float> CutPatches(std::span<const float> pixels, int size, int patch_size) {
  const int grid = size / patch_size;
  std::vector<float> patches;
  patches.reserve(static_cast<size_t>(3) * grid * grid * patch_size * patch_size);
  for (int row = 0; row < grid; ++row) {
    for (int col = 0; col < grid; ++col) {
      for (int channel = 0; channel < 3; ++channel) {
        for (int y = 0; y < patch_size; ++y) {
          const size_t begin = (static_cast<size_t>(channel) * size + row * patch_size + y) * size +
                               static_cast<size_t>(col) * patch_size;
          patches.insert(patches.end(), pixels.begin() + begin, pixels.begin() + begin + patch_size);
        }
      }
    }
  }
  return patches;
}

}  // namespace tessera
