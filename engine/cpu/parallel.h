// Loops over the cores with OpenMP, the one thread pool. A region costs microseconds, and
// milliseconds when other processes hold the cores, so small work stays on the calling thread.
#pragma once

#include <omp.h>

#include <cstdint>

namespace tessera {

// Work below this many floating-point operations (or bytes moved) is not worth a region.
constexpr double kParallelWork = 1e6;

// Calls body(index, thread) for every index in [0, count); the thread numbers are below `threads`.
// Items are handed out one by one, as they may differ in cost. `work` is that of all items
// together.
template <typename Body>
void ParallelFor(int threads, int64_t count, double work, const Body& body) {
  if (threads == 1 || count <= 1 || work < kParallelWork) {
    for (int64_t i = 0; i < count; ++i) body(i, 0);
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int64_t i = 0; i < count; ++i) body(i, omp_get_thread_num());
}

// The same over spans: body(begin, end, thread) with spans of at most `grain`.
template <typename Body>
void ParallelSpans(int threads, int64_t count, int64_t grain, double work, const Body& body) {
  ParallelFor(threads, (count + grain - 1) / grain, work, [&](int64_t span, int thread) {
    const int64_t begin = span * grain;
    body(begin, begin + grain < count ? begin + grain : count, thread);
  });
}

}  // namespace tessera
