// The seeded noise of RouterMode::kGumbel.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tessera {

// Gumbel(0, 1) values [T, experts], each a function of (seeds[t], layer, rows[t], expert) alone;
// rows: their places in sequences.
std::vector<float> GumbelNoise(std::span<const uint64_t> seeds, std::span<const int32_t> rows,
                               int layer, int experts);

}  // namespace tessera
