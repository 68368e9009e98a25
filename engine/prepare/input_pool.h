// Threads that prepare accepted requests and send what they made to the inbox. A request takes
// turns: one for its text and all that headers and counts tell, then one for each of its images;
// requests with images and those without have threads of their own. Images are decoded within
// the memory budget: a request waits until its patches fit, and before each image until decoding
// it does. One image at a time is decoded in any case.
//
// Who prepares a request holds its input, and frees it as soon as it is prepared, refused or
// dropped. Tests: tests/engine/prepare/input_pool_test.cc.
#pragma once

#include <array>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "engine/base/memory_budget.h"
#include "engine/prepare/fair_queue.h"
#include "engine/prepare/preparer.h"
#include "engine/request/inbox.h"
#include "engine/schedule/row_limits.h"

namespace tessera {

// Where preparing stands; times are in seconds, 0 where there is nothing.
struct InputPoolStats {
  double oldest_queued = 0;     // since its arrival: the oldest request that nobody has begun with
  double oldest_preparing = 0;  // since it was begun
  double longest_turn = 0;      // of those under way
  uint64_t images = 0;          // decoded since the start, or tried to
};

class InputPool {
 public:
  // The three must outlive this.
  InputPool(const Preparer& preparer, MemoryBudget& memory, Inbox& inbox)
      : preparer_(preparer), memory_(memory), inbox_(inbox) {}
  ~InputPool() { Stop(); }

  // `image_threads`: 0: as many as there are cores, at least two. They give way to the threads
  // that compute.
  void Start(const RowLimits& limits, int32_t image_threads);
  // Drops all requests, now and from now on; what is under way ends at its next row.
  void Close();
  // Close(), and waits for what is under way.
  void Stop();

  void Add(std::shared_ptr<LiveRequest> request);
  // Nobody waits for the request any more: its bytes and images are freed at once or, where they
  // are worked on, at the next row. Unknown tickets are ignored.
  void Drop(Ticket ticket);
  InputPoolStats Stats(Clock::time_point now) const;

 private:
  struct Preparation;
  using PreparationPtr = std::shared_ptr<Preparation>;
  enum class Lane : uint8_t { kTexts, kImages };

  FairQueue<PreparationPtr>& TurnsOf(const Preparation& preparation);
  std::condition_variable& ArrivedOf(const Preparation& preparation);

  void Run(Lane lane);
  PreparationPtr NextTurn(Lane lane);
  void LetIn();
  bool MayBegin(Preparation& preparation);

  void TakeTurn(const PreparationPtr& preparation);
  absl::Status Plan(Preparation& preparation) const;
  absl::Status PrepareImage(Preparation& preparation);
  void EndTurn(Preparation& preparation);
  static PreparedPrompt TakePrompt(Preparation& preparation);
  void AfterTurn(const PreparationPtr& preparation, const absl::Status& status);
  void QueueNext(const PreparationPtr& preparation);
  void QueueTurn(PreparationPtr preparation);

  const Preparer& preparer_;
  MemoryBudget& memory_;
  Inbox& inbox_;
  RowLimits limits_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::array<FairQueue<PreparationPtr>, 2> turns_;  // by lane
  int32_t decoding_ = 0;                            // turns under way that hold memory for it
  std::deque<PreparationPtr> short_of_memory_;      // planned, in order of arrival
  std::map<Ticket, PreparationPtr> preparations_;   // all, those under way too
  uint64_t images_ = 0;
  bool closed_ = false;

  std::array<std::condition_variable, 2> arrived_;  // by lane
  std::vector<std::jthread> threads_;
};

}  // namespace tessera
