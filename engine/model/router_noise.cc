#include "engine/model/router_noise.h"

#include <cmath>

#include "engine/base/random.h"

namespace tessera {

std::vector<float> GumbelNoise(std::span<const uint64_t> seeds, std::span<const int32_t> rows,
                               int layer, int experts) {
  constexpr uint64_t kRouterStream = 0x726f757465;  // apart from the sampler's samples
  std::vector<float> noise;
  noise.reserve(seeds.size() * static_cast<size_t>(experts));
  for (size_t row = 0; row < seeds.size(); ++row) {
    const uint64_t stream = kRouterStream ^ static_cast<uint64_t>(layer) << 40;
    for (int expert = 0; expert < experts; ++expert) {
      const uint64_t index = static_cast<uint64_t>(rows[row]) << 16 | static_cast<uint64_t>(expert);
      const double uniform = UniformAt(seeds[row], stream, index);
      noise.push_back(static_cast<float>(-std::log(-std::log(uniform))));
    }
  }
  return noise;
}

}  // namespace tessera
