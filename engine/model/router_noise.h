// The seeded noise of RouterMode::kGumbel.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tessera {

// Gumbel(0, 1) values [T, experts], each a function of (seeds[t], layer, positions[t], expert) alone.
std::vector<float> GumbelNoise(std::span<const uint64_t> seeds, std::span<const int32_t> positions,
                               int layer, int experts);

}  // namespace tessera
