// One block of a kernel on the CPU: every thread is a fiber (Boost.Context) and runs until it has
// to wait for others. Blocks run on OpenMP's threads, one each at a time. Warpgroups take turns,
// each going as far as it gets: with threads in ascending order in one launch, descending in the
// next, and in the third one warp going on only when all others wait for it, so that a missing
// barrier shows. When no thread can go on the process ends with what they wait for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

struct dim3 {
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  unsigned x, y, z;
};

namespace tessera::gpu::emulated {

constexpr int kWarp = 32;
constexpr size_t kMaxSharedBytes = 227 * 1024;  // of a block on Hopper

// Threads that wait for each other, and what the last one to come does for all: it sees what each
// brought.
struct Meeting {
  int arrived = 0;
  unsigned generation = 0;
  std::vector<void*> brought;
};

struct Copy {
  void* shared;
  const void* global;  // null: zeros
  size_t bytes;
};

struct Thread {
  dim3 index;
  unsigned linear = 0;
  std::vector<std::vector<Copy>> copies;  // groups under way, the open one last
};

// Who goes on when several threads can.
constexpr unsigned kNoWarp = ~0u;
struct Order {
  bool descending = false;
  unsigned late_warp = kNoWarp;  // goes on last
};

struct Hopper;  // hopper.h

class Block {
 public:
  // The block and the thread that run on this OS thread.
  static Block& Current();
  Thread& thread() { return *thread_; }

  dim3 index, size, grid;
  unsigned char* shared_memory = nullptr;
  std::shared_ptr<Hopper> hopper;  // of kernels that use barriers in shared memory

  // Meets `count` threads at meeting `meeting`, bringing `mine` as number `place`; the last to come
  // calls act(brought).
  template <typename Act>
  void Meet(Meeting& meeting, size_t count, size_t place, void* mine, const Act& act) {
    if (meeting.brought.size() < count) meeting.brought.resize(count);
    meeting.brought[place] = mine;
    ++progress_;
    if (static_cast<size_t>(++meeting.arrived) < count) {
      const unsigned generation = meeting.generation;
      WaitUntil([&] { return meeting.generation != generation; });
      return;
    }
    act(meeting.brought.data());
    meeting.arrived = 0;
    ++meeting.generation;
  }
  // The same for the 32 lanes of the thread's warp.
  template <typename Act>
  void MeetWarp(void* mine, const Act& act) {
    Meet(warps_[thread_->linear / kWarp], kWarp, thread_->linear % kWarp, mine, act);
  }
  void SyncBlock() {
    Meet(block_, size.x, thread_->linear, nullptr, [](void**) {});
  }
  // Lets other threads run until the condition holds.
  template <typename Condition>
  void WaitUntil(const Condition& condition) {
    while (!condition()) Yield();
    ++progress_;
  }

  void Run(const std::function<void()>& kernel, const Order& order);

 private:
  struct Fibers;
  void Yield();

  Thread* thread_ = nullptr;
  Meeting block_;
  std::vector<Meeting> warps_;
  uint64_t progress_ = 0;
  Fibers* fibers_ = nullptr;
};

// Runs every block of the grid, then returns.
void RunGrid(dim3 blocks, unsigned threads, size_t shared_bytes,
             const std::function<void()>& kernel);

}  // namespace tessera::gpu::emulated
