#include "engine/image/views.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/base/check.h"
#include "engine/image/patches.h"

namespace tessera {
namespace {

// Where a target pixel takes its value from along one axis.
struct Taps {
  std::array<int, 4> places;
  std::array<float, 4> weights;
};

// Keys' cubic convolution kernel (Keys 1981).
double CubicKernel(double distance) {
  constexpr double kA = -0.75;
  const double x = std::abs(distance);
  if (x <= 1) return ((kA + 2) * x - (kA + 3)) * x * x + 1;
  return x < 2 ? ((kA * x - 5 * kA) * x + 8 * kA) * x - 4 * kA : 0;
}

std::vector<Taps> TapsFor(int size, int target) {
  std::vector<Taps> taps(static_cast<size_t>(target));
  for (int i = 0; i < target; ++i) {
    const double centre = (i + 0.5) * size / target - 0.5;
    const int below = static_cast<int>(std::floor(centre));
    for (int k = 0; k < 4; ++k) {
      const int place = below - 1 + k;
      taps[static_cast<size_t>(i)].places[static_cast<size_t>(k)] = std::clamp(place, 0, size - 1);
      taps[static_cast<size_t>(i)].weights[static_cast<size_t>(k)] =
          static_cast<float>(CubicKernel(centre - place));
    }
  }
  return taps;
}

float Weighted(const Taps& taps, const float* values, size_t stride) {
  float sum = 0;
  for (size_t k = 0; k < 4; ++k) {
    sum += taps.weights[k] * values[static_cast<size_t>(taps.places[k]) * stride];
  }
  return sum;
}

}  // namespace

std::vector<float> InterpolateBicubic(std::span<const float> pixels, int size, int target) {
  const std::vector<Taps> taps = TapsFor(size, target);
  const size_t width = static_cast<size_t>(target);
  std::vector<float> narrow;  // [3, size, target]
  narrow.reserve(3 * static_cast<size_t>(size) * width);
  for (size_t line = 0; line < 3 * static_cast<size_t>(size); ++line) {
    for (const Taps& x : taps) {
      narrow.push_back(Weighted(x, pixels.data() + line * static_cast<size_t>(size), 1));
    }
  }
  std::vector<float> result;
  result.reserve(3 * width * width);
  for (size_t channel = 0; channel < 3; ++channel) {
    const float* plane = narrow.data() + channel * static_cast<size_t>(size) * width;
    for (const Taps& y : taps) {
      for (size_t x = 0; x < width; ++x) result.push_back(Weighted(y, plane + x, width));
    }
  }
  return result;
}

std::vector<float> CutViews(std::span<const float> pixels, int size, std::span<const int> scales,
                            int patch_size) {
  TESSERA_CHECK(!scales.empty() && size % scales.back() == 0);
  const int tile = size / scales.back();
  std::vector<float> patches;
  for (const int scale : scales) {
    const int side = scale * tile;
    std::vector<float> resized;
    if (side != size) resized = InterpolateBicubic(pixels, size, side);
    const std::span<const float> seen = side == size ? pixels : std::span<const float>(resized);
    for (int top = 0; top < side; top += tile) {
      for (int left = 0; left < side; left += tile) {
        AppendPatches(seen, side, left, top, tile, patch_size, patches);
      }
    }
  }
  return patches;
}

}  // namespace tessera
