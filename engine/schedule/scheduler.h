// Which rows of which sequences make up a step. First come, first served: decoding rows first, then
// prefill chunks in the order of arrival, then new sequences while rows, blocks and places last.
// When blocks run out the youngest running sequence gives up its own and is computed again later.
//
// Thread: the engine's. No tensors, no clocks. Tests: scheduler_test.cc (tables and random runs
// against the invariants below). A step may be planned while the one before it is under way: tokens
// that it samples count, though nobody knows them yet. Rows of a sequence that turns out to have
// ended are then computed for nothing.
//
// Invariants: a sequence holds blocks only while running; every row is planned after all rows
// before it; a step's rows never exceed the budget, but for one prompt where prompts are computed
// whole; the oldest running sequence is never preempted for a younger one.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "engine/schedule/block_pool.h"
#include "engine/schedule/sequence.h"

namespace tessera {

struct SchedulerOptions {
  int32_t block_size = 16;
  int32_t max_running = 64;
  bool prefix_cache = true;
  // a prompt is computed in one step, whatever the budget; needs prefix_cache off
  bool whole_prompts = false;
};

// Rows a step may take. Decoding rows are never held back by the prefill limit.
struct StepBudget {
  int32_t rows = 512;          // in all
  int32_t prefill_rows = 512;  // of them, beyond one per decoding sequence
};

// Rows [begin, begin + count) of a sequence; `samples`: its next token is sampled from the last
// one's logits.
struct PlannedRows {
  Sequence* sequence = nullptr;
  int32_t begin = 0;
  int32_t count = 0;
  bool samples = false;
};

// The block's contents are to be copied before the step writes to `to`.
struct BlockCopy {
  BlockId from = 0;
  BlockId to = 0;
};

struct StepPlan {
  std::vector<PlannedRows> rows;
  std::vector<BlockCopy> copies;
  int32_t total_rows = 0;
  int32_t decoding_rows = 0;
};

struct SchedulerCounts {
  uint64_t preemptions = 0;
  uint64_t queried_rows = 0;  // prompt rows looked up in the prefix cache
  uint64_t hit_rows = 0;
};

class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, BlockPool& pool);

  // Rows that could ever be computed for one sequence.
  int32_t capacity_rows() const { return pool_.total() * options_.block_size; }

  // The sequence waits behind those already there. It must outlive its stay (until Remove).
  void Add(Sequence* sequence);
  // Takes the sequence out at any stage and frees its blocks, also while a step that has rows of it
  // is under way: who gets the blocks next writes to them in a later step.
  void Remove(Sequence* sequence);

  StepPlan Plan(const StepBudget& budget);
  // The step is queued, so to whatever is queued later its rows are computed. Each sequence that
  // samples has one more token, sampled but not known: Sequence::unknown, sampled_place.
  void Advance(const StepPlan& plan);
  // The first unknown token is known now. One at most may be unknown while a step is planned.
  void Settle(Sequence* sequence, int32_t token);

  // Running sequences, oldest first. Their images are the ones to encode next.
  const std::vector<Sequence*>& running() const { return running_; }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  const SchedulerCounts& counts() const { return counts_; }

 private:
  bool Admit(Sequence* sequence);
  void TakePrefix(Sequence* sequence);
  // Rows that could be computed now: image rows only when their image is ready.
  int32_t ReadyRows(const Sequence& sequence) const;
  // Makes rows [computed, computed + count) writable, preempting younger sequences where needed;
  // fewer when blocks run out.
  int32_t Reserve(Sequence* sequence, int32_t count, StepPlan& plan);
  std::optional<BlockId> AllocateFor(const Sequence* sequence, StepPlan& plan);
  void Preempt(Sequence* victim, StepPlan& plan);
  void FreeBlocks(Sequence* sequence);
  // Gives full blocks of computed rows whose tokens are known to the pool's index.
  void Publish(Sequence* sequence);
  // Plans at most `limit` rows; how many. A whole prompt counts as one beyond any limit.
  int32_t PlanSequence(Sequence* sequence, int32_t limit, StepPlan& plan);

  SchedulerOptions options_;
  BlockPool& pool_;
  std::deque<Sequence*> waiting_;
  std::vector<Sequence*> running_;
  SchedulerCounts counts_;
};

// Hashes of the leading full blocks of known tokens, chained: each covers its predecessor's, the
// token ids and, for image rows, the image's digest with the row's place in it. Extends
// sequence.hashes.
void ExtendHashes(Sequence& sequence, int32_t block_size);

}  // namespace tessera
