#include "tests/emulated/block.h"

#include <algorithm>
#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <cstring>
#include <memory>

#include "engine/base/check.h"
#include "tests/emulated/clock.h"

namespace tessera::gpu::emulated {

namespace context = boost::context;

namespace {

// Threads that take turns until none of them can go on, before others do: a warpgroup.
constexpr unsigned kTogether = 128;
constexpr size_t kStackBytes = 128 * 1024;

thread_local Block* current = nullptr;

struct AlignedFree {
  void operator()(void* memory) const { std::free(memory); }
};

unsigned char* SharedMemoryOfThisCore() {
  thread_local std::unique_ptr<void, AlignedFree> memory(std::aligned_alloc(1024, 228 * 1024));
  return static_cast<unsigned char*>(memory.get());
}

context::pooled_fixedsize_stack& StacksOfThisCore() {
  thread_local context::pooled_fixedsize_stack stacks(kStackBytes);
  return stacks;
}

}  // namespace

struct Block::Fibers {
  std::vector<Thread> threads;
  std::vector<context::fiber> fibers;
  context::fiber scheduler;  // where the running fiber came from
};

Block& Block::Current() { return *current; }

void Block::Yield() {
  Thread* const self = thread_;
  fibers_->scheduler = std::move(fibers_->scheduler).resume();
  thread_ = self;
}

void Block::Run(const std::function<void()>& kernel, const Order& order) {
  current = this;
  const unsigned count = size.x;
  Fibers fibers;
  fibers_ = &fibers;
  fibers.threads.resize(count);
  warps_.resize((count + kWarp - 1) / kWarp);
  for (unsigned i = 0; i < count; ++i) {
    fibers.threads[i].index = dim3(i, 0, 0);
    fibers.threads[i].linear = i;
    fibers.threads[i].copies.emplace_back();
    fibers.fibers.emplace_back(std::allocator_arg, StacksOfThisCore(),
                               [&](context::fiber&& scheduler) {
                                 fibers.scheduler = std::move(scheduler);
                                 kernel();
                                 return std::move(fibers.scheduler);
                               });
  }
  unsigned left = count;
  const auto resume = [&](unsigned i) {
    if (!fibers.fibers[i]) return;
    thread_ = &fibers.threads[i];
    fibers.fibers[i] = std::move(fibers.fibers[i]).resume();
    if (fibers.fibers[i]) return;
    --left;
    ++progress_;
  };
  // Threads [first, end) go on, one after the other, until none of them can; not those of the late
  // warp.
  const auto advance = [&](unsigned first, unsigned end, bool late) {
    uint64_t before;
    do {
      before = progress_;
      for (unsigned k = first; k < end; ++k) {
        const unsigned i = order.descending ? count - 1 - k : k;
        if ((i / kWarp == order.late_warp) == late) resume(i);
      }
    } while (progress_ != before);
  };
  while (left > 0) {
    const uint64_t before = progress_;
    uint64_t before_round;
    do {
      before_round = progress_;
      for (unsigned first = 0; first < count; first += kTogether) {
        advance(first, std::min(count, first + kTogether), false);
      }
    } while (order.late_warp != kNoWarp && progress_ != before_round);
    if (order.late_warp != kNoWarp) advance(0, count, true);
    TESSERA_CHECK_MSG(progress_ != before, "every thread of block " + std::to_string(index.x) +
                                               " waits: " + std::to_string(block_.arrived) +
                                               " of " + std::to_string(count) + " for the block, " +
                                               std::to_string(left) + " are left");
  }
  fibers_ = nullptr;
  current = nullptr;
}

void RunGrid(dim3 blocks, unsigned threads, size_t shared_bytes,
             const std::function<void()>& kernel) {
  TESSERA_CHECK(threads > 0 && threads <= 1024 && threads % kWarp == 0);
  TESSERA_CHECK(shared_bytes <= kMaxSharedBytes);
  static unsigned launches = 0;  // they come from one thread
  ++launches;
  const Order order = {launches % 3 == 1,
                       launches % 3 == 0 ? launches / 3 % (threads / kWarp) : kNoWarp};
  const int64_t count = int64_t{blocks.x} * blocks.y * blocks.z;
  PassTime({count, threads, shared_bytes});
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < count; ++i) {
    Block block;
    block.index = dim3(i % blocks.x, i / blocks.x % blocks.y, i / blocks.x / blocks.y);
    block.size = dim3(threads);
    block.grid = blocks;
    block.shared_memory = SharedMemoryOfThisCore();
    std::memset(block.shared_memory, 0xff, shared_bytes);  // NaNs
    block.Run(kernel, order);
  }
}

}  // namespace tessera::gpu::emulated
