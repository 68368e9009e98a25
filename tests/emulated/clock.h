// The time of the emulated GPU: it passes with launches alone, as a test says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace tessera::gpu::emulated {

struct LaunchedGrid {
  int64_t blocks;
  unsigned threads;
  size_t shared_bytes;
};
// How long launches take from now on, in seconds; null: a nanosecond for each thread.
using LaunchSeconds = std::function<double(const LaunchedGrid&)>;
void SetLaunchSeconds(LaunchSeconds seconds);

void PassTime(const LaunchedGrid& grid);
double Now();  // seconds

}  // namespace tessera::gpu::emulated
