// Runs a Scheduler as the engine does, but for the model: what would be keys and values of a row is
// a hash of the sequence's history up to that row. After every step each planned sequence's slots
// must hold exactly its own history, so that a wrong reuse, copy, eviction or preemption shows at
// once. Sampled tokens are a function of the history, too. `ahead`: a step is planned and computed
// before the tokens of the one before it are known, but to the simulated device.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "engine/schedule/scheduler.h"

namespace tessera::testing {

// A sequence without rows. AddText and AddImage append to its prompt.
std::unique_ptr<Sequence> MakeSequence(std::string_view salt = "");
void AddText(Sequence& sequence, std::span<const int32_t> tokens);
// `image` stands for the digest. Not ready.
void AddImage(Sequence& sequence, int which, int32_t rows);
// A text prompt of `rows` ids that begin with `first` and count up, and its answer's length.
std::unique_ptr<Sequence> MakeText(int32_t first, int32_t rows, int32_t answer);

class SimulatedSteps {
 public:
  SimulatedSteps(const SchedulerOptions& options, int32_t blocks, bool ahead = false);

  void Add(Sequence* sequence);
  void Remove(Sequence* sequence);
  // Plans, checks the plan against every invariant of scheduler.h, computes it, settles its tokens
  // or those of the step before it; sequences that are complete leave.
  StepPlan Step(const StepBudget& budget);
  // Steps until all sequences are complete; false when that takes more than `limit` steps.
  bool Finish(const StepBudget& budget, int limit);

  Scheduler& scheduler() { return scheduler_; }
  BlockPool& pool() { return pool_; }
  bool idle() const { return live_.empty(); }
  // Whether a token is sampled that the scheduler does not know.
  bool under_way() const { return !under_way_.empty(); }

 private:
  struct Before {
    std::vector<Sequence*> decoding;
    std::vector<int32_t> preemptions;  // of each of `decoding`
  };
  void CheckPlan(const StepPlan& plan, const StepBudget& budget, const Before& before) const;
  void CheckRows(const PlannedRows& rows) const;
  void CheckOrder() const;
  void CheckBlocks() const;
  std::vector<uint64_t> History(const Sequence& sequence) const;
  void Compute(const StepPlan& plan);
  void Settle(const std::vector<Sequence*>& sampled, const std::vector<int32_t>& tokens);
  uint64_t& Slot(const Sequence& sequence, int32_t row);

  SchedulerOptions options_;
  const bool ahead_;
  BlockPool pool_;
  Scheduler scheduler_;
  std::vector<uint64_t> slots_;       // by block, then row in the block
  std::vector<int32_t> sampled_;      // in the latest step, as the device knows it
  std::vector<Sequence*> under_way_;  // who drew them, null where removed meanwhile
  std::vector<Sequence*> live_;       // in the order of arrival
};

}  // namespace tessera::testing
