// Counter-based random numbers: a value is a function of its key alone, so samples do not depend on
// batch mates or on order. Mixing: SplitMix64's finaliser (Steele, Lea, Flood 2014, "Fast
// splittable pseudorandom number generators", §5).
#pragma once

#include <cstdint>

namespace tessera {

inline uint64_t MixBits(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

// Uniform in (0, 1), 53 bits, never an end.
inline double UniformAt(uint64_t seed, uint64_t stream, uint64_t index) {
  const uint64_t bits = MixBits(MixBits(MixBits(seed) ^ stream) ^ index);
  return (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
}

}  // namespace tessera
