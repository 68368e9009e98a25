#include "tests/emulated/clock.h"

#include <utility>

namespace tessera::gpu::emulated {
namespace {

// Of the one thread that launches.
LaunchSeconds launch_seconds;
double now = 0;

}  // namespace

void SetLaunchSeconds(LaunchSeconds seconds) { launch_seconds = std::move(seconds); }

void PassTime(const LaunchedGrid& grid) {
  now += launch_seconds ? launch_seconds(grid)
                        : static_cast<double>(grid.blocks) * grid.threads * 1e-9;
}

double Now() { return now; }

}  // namespace tessera::gpu::emulated
