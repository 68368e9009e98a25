#include "engine/schedule/scheduler.h"

#include <algorithm>

#include "engine/base/check.h"

namespace tessera {

void ExtendHashes(Sequence& sequence, int32_t block_size) {
  const int32_t full = sequence.known_rows() / block_size;
  for (int32_t block = static_cast<int32_t>(sequence.hashes.size()); block < full; ++block) {
    const int32_t begin = block * block_size;
    const int32_t end = begin + block_size;
    Sha256Stream stream;
    const Digest& before = block == 0 ? sequence.salt : sequence.hashes.back();
    stream.Add(before.data(), before.size());
    stream.AddSpan(std::span<const int32_t>(sequence.tokens).subspan(begin, block_size));
    for (const ImageSpan& span : sequence.prompt.spans) {
      if (span.begin >= end || span.begin + span.rows <= begin) continue;
      const Digest& image = sequence.prompt.images[static_cast<size_t>(span.image)]->digest;
      const int32_t offset = begin - span.begin;  // of the block in the image's rows
      stream.Add(image.data(), image.size());
      stream.Add(&offset, sizeof(offset));
    }
    if (sequence.answer_apart && end > sequence.prompt_rows()) {
      const int32_t prompt_rows = sequence.prompt_rows();
      stream.Add(&prompt_rows, sizeof(prompt_rows));
    }
    sequence.hashes.push_back(stream.Finish());
  }
}

Scheduler::Scheduler(const SchedulerOptions& options, BlockPool& pool)
    : options_(options), pool_(pool) {
  TESSERA_CHECK(!options.whole_prompts || !options.prefix_cache);
}

void Scheduler::Add(Sequence* sequence) {
  sequence->state = SequenceState::kWaiting;
  waiting_.push_back(sequence);
}

void Scheduler::Remove(Sequence* sequence) {
  FreeBlocks(sequence);
  std::erase(running_, sequence);
  std::erase(waiting_, sequence);
  sequence->state = SequenceState::kFinished;
}

StepPlan Scheduler::Plan(const StepBudget& budget) {
  StepPlan plan;
  // Preempting removes from the end of running_, never what this loop has passed.
  for (size_t i = 0; i < running_.size() && plan.total_rows < budget.rows; ++i) {
    if (running_[i]->decoding()) PlanSequence(running_[i], 1, plan);
  }
  plan.decoding_rows = plan.total_rows;
  int32_t prefill = std::min(budget.prefill_rows, budget.rows - plan.total_rows);
  const auto plan_prefill = [&](Sequence* sequence) {
    prefill -= PlanSequence(sequence, prefill, plan);
  };
  for (size_t i = 0; i < running_.size() && prefill > 0; ++i) {
    if (!running_[i]->decoding()) plan_prefill(running_[i]);
  }
  while (!waiting_.empty() && prefill > 0 && Admit(waiting_.front())) {
    plan_prefill(running_.back());
  }
  return plan;
}

// A sequence is admitted when a place is free and blocks for all its known rows are.
bool Scheduler::Admit(Sequence* sequence) {
  if (static_cast<int32_t>(running_.size()) >= options_.max_running) return false;
  TakePrefix(sequence);
  const int32_t rows = static_cast<int32_t>(sequence->tokens.size());
  const int32_t blocks = (rows + options_.block_size - 1) / options_.block_size;
  const int32_t needed = blocks - static_cast<int32_t>(sequence->blocks.size());
  if (pool_.available() < needed) {
    FreeBlocks(sequence);
    return false;
  }
  if (!sequence->was_admitted) {
    sequence->was_admitted = true;
    sequence->cached_rows = std::min(sequence->computed, sequence->prompt_rows());
    counts_.queried_rows += static_cast<uint64_t>(sequence->prompt_rows());
    counts_.hit_rows += static_cast<uint64_t>(sequence->cached_rows);
  }
  waiting_.pop_front();
  running_.push_back(sequence);
  sequence->state = SequenceState::kRunning;
  return true;
}

// Takes the longest run of leading blocks that the pool knows. At least one row stays to be
// computed: its logits are needed.
void Scheduler::TakePrefix(Sequence* sequence) {
  TESSERA_CHECK(sequence->blocks.empty() && sequence->computed == 0);
  if (!options_.prefix_cache) return;
  ExtendHashes(*sequence, options_.block_size);
  for (const Digest& hash : sequence->hashes) {
    const std::optional<BlockId> block = pool_.Take(hash);
    if (!block) break;
    sequence->blocks.push_back(*block);
  }
  int32_t rows = static_cast<int32_t>(sequence->blocks.size()) * options_.block_size;
  if (rows == static_cast<int32_t>(sequence->tokens.size()) && pool_.available() == 0) {
    // No block is left for a copy of the last one, and in a small pool there never may be: compute
    // its rows again.
    pool_.Release(sequence->blocks.back());
    sequence->blocks.pop_back();
    rows -= options_.block_size;
  }
  sequence->published = static_cast<int32_t>(sequence->blocks.size());
  sequence->computed = std::min(rows, static_cast<int32_t>(sequence->tokens.size()) - 1);
}

int32_t Scheduler::ReadyRows(const Sequence& sequence) const {
  int32_t end = static_cast<int32_t>(sequence.tokens.size());
  for (const ImageSpan& span : sequence.prompt.spans) {
    const bool ready = sequence.image_ready[static_cast<size_t>(span.image)];
    if (!ready && span.begin + span.rows > sequence.computed) end = std::min(end, span.begin);
  }
  return std::max(0, end - sequence.computed);
}

int32_t Scheduler::PlanSequence(Sequence* sequence, int32_t limit, StepPlan& plan) {
  if (sequence->full()) return 0;
  const int32_t prompt = sequence->prompt_rows() - sequence->computed;
  const int32_t least = options_.whole_prompts ? std::max(1, prompt) : 1;
  const int32_t wanted = std::min(std::max(limit, least), ReadyRows(*sequence));
  if (limit <= 0 || wanted < least) return 0;
  const int32_t count = Reserve(sequence, wanted, plan);
  if (count < least) return 0;
  const bool last = count == sequence->remaining();
  plan.rows.push_back({sequence, sequence->computed, count, last});
  plan.total_rows += count;
  return count;
}

int32_t Scheduler::Reserve(Sequence* sequence, int32_t count, StepPlan& plan) {
  std::vector<BlockId>& blocks = sequence->blocks;
  const size_t first = static_cast<size_t>(sequence->computed / options_.block_size);
  if (first < blocks.size() && pool_.MustCopy(blocks[first])) {
    const std::optional<BlockId> copy = AllocateFor(sequence, plan);
    if (!copy) return 0;
    plan.copies.push_back({blocks[first], *copy});
    pool_.Release(blocks[first]);
    blocks[first] = *copy;
  }
  const auto rows_held = [&] { return static_cast<int32_t>(blocks.size()) * options_.block_size; };
  while (rows_held() < sequence->computed + count) {
    const std::optional<BlockId> block = AllocateFor(sequence, plan);
    if (!block) break;
    blocks.push_back(*block);
  }
  return std::min(count, rows_held() - sequence->computed);
}

// A free block, got from the youngest running sequences where none is left; nothing when `sequence`
// itself is the youngest.
std::optional<BlockId> Scheduler::AllocateFor(const Sequence* sequence, StepPlan& plan) {
  for (;;) {
    if (const std::optional<BlockId> block = pool_.Allocate()) return block;
    if (running_.back() == sequence) return std::nullopt;
    Preempt(running_.back(), plan);
  }
}

// Rows already planned of the victim are decoding ones: prefill is planned from the oldest to the
// youngest.
void Scheduler::Preempt(Sequence* victim, StepPlan& plan) {
  for (const PlannedRows& rows : plan.rows) {
    if (rows.sequence != victim) continue;
    plan.total_rows -= rows.count;
    plan.decoding_rows -= rows.count;
  }
  std::erase_if(plan.rows, [&](const PlannedRows& rows) { return rows.sequence == victim; });
  FreeBlocks(victim);
  running_.pop_back();
  waiting_.push_front(victim);
  victim->state = SequenceState::kWaiting;
  ++victim->preemptions;
  ++counts_.preemptions;
}

void Scheduler::FreeBlocks(Sequence* sequence) {
  // The last ones first, so that of a cached prefix the beginning is given up last.
  for (auto block = sequence->blocks.rbegin(); block != sequence->blocks.rend(); ++block) {
    pool_.Release(*block);
  }
  sequence->blocks.clear();
  sequence->computed = 0;
  sequence->published = 0;
}

void Scheduler::Advance(const StepPlan& plan) {
  int32_t place = 0;
  for (const PlannedRows& rows : plan.rows) {
    Sequence& sequence = *rows.sequence;
    sequence.computed += rows.count;
    if (rows.samples) {
      TESSERA_CHECK(sequence.unknown <= 1);
      sequence.tokens.push_back(kDrawnToken);
      ++sequence.unknown;
      sequence.sampled_place = place++;
    }
    Publish(&sequence);
  }
}

void Scheduler::Settle(Sequence* sequence, int32_t token) {
  TESSERA_CHECK(sequence->unknown > 0);
  sequence->tokens[static_cast<size_t>(sequence->known_rows())] = token;
  --sequence->unknown;
  Publish(sequence);
}

void Scheduler::Publish(Sequence* sequence) {
  if (!options_.prefix_cache) return;
  ExtendHashes(*sequence, options_.block_size);
  const int32_t rows = std::min(sequence->computed, sequence->known_rows());
  while ((sequence->published + 1) * options_.block_size <= rows) {
    const size_t block = static_cast<size_t>(sequence->published++);
    pool_.Publish(sequence->blocks[block], sequence->hashes[block]);
  }
}

}  // namespace tessera
