#include "tests/testing/simulated_steps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <utility>

#include "engine/base/random.h"

namespace tessera::testing {
namespace {

uint64_t Number(const Digest& digest) {
  uint64_t number = 0;
  std::memcpy(&number, digest.data(), sizeof(number));
  return number;
}

bool Contains(const std::vector<Sequence*>& list, const Sequence* sequence) {
  return std::find(list.begin(), list.end(), sequence) != list.end();
}

}  // namespace

// What row r holds covers rows [0, r], the salt and, for image rows, the image and the place in
// it.
std::vector<uint64_t> SimulatedSteps::History(const Sequence& sequence) const {
  std::vector<uint64_t> own(sequence.tokens.begin(), sequence.tokens.end());
  EXPECT_LE(sequence.unknown, ahead_ ? 1 : 0);
  if (sequence.unknown == 1) {
    EXPECT_EQ(sequence.tokens.back(), kDrawnToken);
    own.back() = static_cast<uint64_t>(sampled_[static_cast<size_t>(sequence.sampled_place)]);
  }
  for (const ImageSpan& span : sequence.prompt.spans) {
    const Digest& digest = sequence.prompt.images[static_cast<size_t>(span.image)]->digest;
    for (int32_t row = 0; row < span.rows; ++row) {
      own[static_cast<size_t>(span.begin + row)] =
          MixBits(Number(digest) + static_cast<uint64_t>(row));
    }
  }
  uint64_t before = Number(sequence.salt);
  for (uint64_t& row : own) before = row = MixBits(before ^ MixBits(row));
  return own;
}

std::unique_ptr<Sequence> MakeSequence(std::string_view salt) {
  auto sequence = std::make_unique<Sequence>();
  sequence->salt = Sha256(salt);
  return sequence;
}

void AddText(Sequence& sequence, std::span<const int32_t> tokens) {
  sequence.prompt.rows.insert(sequence.prompt.rows.end(), tokens.begin(), tokens.end());
  sequence.tokens = sequence.prompt.rows;
}

void AddImage(Sequence& sequence, int which, int32_t rows) {
  auto image = std::make_shared<PreparedImage>();
  image->digest = Sha256("image " + std::to_string(which));
  image->rows = rows;
  sequence.prompt.spans.push_back(
      {sequence.prompt_rows(), rows, static_cast<int32_t>(sequence.prompt.images.size())});
  sequence.prompt.images.push_back(std::move(image));
  sequence.image_ready.push_back(false);
  AddText(sequence, std::vector<int32_t>(static_cast<size_t>(rows), kImagePlaceholder));
}

std::unique_ptr<Sequence> MakeText(int32_t first, int32_t rows, int32_t answer) {
  auto sequence = MakeSequence();
  std::vector<int32_t> tokens(static_cast<size_t>(rows));
  std::iota(tokens.begin(), tokens.end(), first);
  AddText(*sequence, tokens);
  sequence->max_rows = rows + answer;
  return sequence;
}

SimulatedSteps::SimulatedSteps(const SchedulerOptions& options, int32_t blocks, bool ahead)
    : options_(options),
      ahead_(ahead),
      pool_(blocks),
      scheduler_(options, pool_),
      slots_(static_cast<size_t>(blocks * options.block_size)) {}

void SimulatedSteps::Add(Sequence* sequence) {
  live_.push_back(sequence);
  scheduler_.Add(sequence);
}

void SimulatedSteps::Remove(Sequence* sequence) {
  scheduler_.Remove(sequence);
  std::erase(live_, sequence);
  std::replace(under_way_.begin(), under_way_.end(), sequence, static_cast<Sequence*>(nullptr));
  EXPECT_EQ(sequence->state, SequenceState::kFinished);
  EXPECT_TRUE(sequence->blocks.empty());
  EXPECT_FALSE(Contains(scheduler_.running(), sequence));
  CheckBlocks();
}

StepPlan SimulatedSteps::Step(const StepBudget& budget) {
  Before before;
  for (Sequence* sequence : scheduler_.running()) {
    if (!sequence->decoding()) continue;
    before.decoding.push_back(sequence);
    before.preemptions.push_back(sequence->preemptions);
  }
  const StepPlan plan = scheduler_.Plan(budget);
  CheckPlan(plan, budget, before);
  CheckOrder();
  CheckBlocks();
  const std::vector<Sequence*> before_sampled = std::exchange(under_way_, {});
  const std::vector<int32_t> tokens_before = sampled_;
  Compute(plan);
  scheduler_.Advance(plan);
  for (const PlannedRows& rows : plan.rows) {
    Sequence& sequence = *rows.sequence;
    if (rows.samples) under_way_.push_back(&sequence);
    for (const ImageSpan& span : sequence.prompt.spans) {  // images are let go when computed
      if (span.begin + span.rows > sequence.computed) continue;
      sequence.image_ready[static_cast<size_t>(span.image)] = false;
    }
  }
  Settle(before_sampled, tokens_before);
  if (!ahead_) Settle(std::exchange(under_way_, {}), sampled_);
  CheckBlocks();
  return plan;
}

void SimulatedSteps::Settle(const std::vector<Sequence*>& sampled,
                            const std::vector<int32_t>& tokens) {
  for (size_t i = 0; i < sampled.size(); ++i) {
    if (sampled[i] == nullptr) continue;
    scheduler_.Settle(sampled[i], tokens[i]);
    if (sampled[i]->known_rows() >= sampled[i]->max_rows) Remove(sampled[i]);
  }
}

bool SimulatedSteps::Finish(const StepBudget& budget, int limit) {
  for (int step = 0; step < limit && !idle(); ++step) Step(budget);
  return idle();
}

void SimulatedSteps::CheckPlan(const StepPlan& plan, const StepBudget& budget,
                               const Before& before) const {
  int32_t total = 0;
  int32_t decoding = 0;
  std::set<const Sequence*> planned;
  for (const PlannedRows& rows : plan.rows) {
    EXPECT_TRUE(planned.insert(rows.sequence).second) << "planned twice";
    EXPECT_LT(rows.begin + rows.count, rows.sequence->max_rows) << "nothing may follow";
    total += rows.count;
    CheckRows(rows);
    const auto at = std::find(before.decoding.begin(), before.decoding.end(), rows.sequence);
    if (at == before.decoding.end()) continue;
    // One that was preempted and came back within the plan counts as prefill.
    const int32_t preempted = before.preemptions[static_cast<size_t>(at - before.decoding.begin())];
    decoding += rows.sequence->preemptions == preempted ? rows.count : 0;
  }
  EXPECT_EQ(plan.total_rows, total);
  EXPECT_EQ(plan.decoding_rows, decoding);
  // Where prompts are computed whole, the last one may begin with a single row left.
  const bool whole = options_.whole_prompts && !plan.rows.empty();
  const int32_t beyond = whole ? plan.rows.back().count - 1 : 0;
  EXPECT_LE(total, budget.rows + beyond);
  EXPECT_LE(total - decoding, budget.prefill_rows + beyond);
}

void SimulatedSteps::CheckRows(const PlannedRows& rows) const {
  const Sequence& sequence = *rows.sequence;
  const int32_t end = rows.begin + rows.count;
  EXPECT_EQ(sequence.state, SequenceState::kRunning);
  EXPECT_EQ(rows.begin, sequence.computed);
  EXPECT_GT(rows.count, 0);
  EXPECT_EQ(rows.samples, end == static_cast<int32_t>(sequence.tokens.size()));
  if (options_.whole_prompts && rows.begin < sequence.prompt_rows()) {
    EXPECT_EQ(rows.begin, 0);
    EXPECT_GE(rows.count, sequence.prompt_rows());
  }
  ASSERT_LE(end, static_cast<int32_t>(sequence.tokens.size()));
  ASSERT_LE(end, static_cast<int32_t>(sequence.blocks.size()) * options_.block_size);
  for (int32_t row = rows.begin; row < end; ++row) {
    const BlockId block = sequence.blocks[static_cast<size_t>(row / options_.block_size)];
    EXPECT_FALSE(pool_.MustCopy(block)) << "written, though others read it";
  }
  for (const ImageSpan& span : sequence.prompt.spans) {
    const bool touched = span.begin < end && span.begin + span.rows > rows.begin;
    EXPECT_TRUE(!touched || sequence.image_ready[static_cast<size_t>(span.image)]);
  }
}

// Running sequences are in the order of arrival, and none waits that came before one of them.
void SimulatedSteps::CheckOrder() const {
  const std::vector<Sequence*>& running = scheduler_.running();
  EXPECT_LE(static_cast<int32_t>(running.size()), options_.max_running);
  ASSERT_LE(running.size(), live_.size());
  for (size_t i = 0; i < running.size(); ++i) EXPECT_EQ(running[i], live_[i]);
  EXPECT_EQ(scheduler_.waiting(), static_cast<int64_t>(live_.size() - running.size()));
}

void SimulatedSteps::CheckBlocks() const {
  std::set<BlockId> held;
  for (const Sequence* sequence : live_) {
    if (!Contains(scheduler_.running(), sequence)) {
      EXPECT_TRUE(sequence->blocks.empty()) << "holds blocks without running";
      EXPECT_EQ(sequence->computed, 0);
    }
    const std::set<BlockId> own(sequence->blocks.begin(), sequence->blocks.end());
    EXPECT_EQ(own.size(), sequence->blocks.size()) << "the same block twice";
    held.insert(own.begin(), own.end());
  }
  EXPECT_EQ(pool_.used(), static_cast<int32_t>(held.size()));
}

void SimulatedSteps::Compute(const StepPlan& plan) {
  for (const BlockCopy& copy : plan.copies) {
    std::copy_n(slots_.begin() + copy.from * options_.block_size, options_.block_size,
                slots_.begin() + copy.to * options_.block_size);
  }
  std::map<Sequence*, std::vector<uint64_t>> histories;
  for (const PlannedRows& rows : plan.rows) {
    const std::vector<uint64_t>& history = histories[rows.sequence] = History(*rows.sequence);
    for (int32_t row = rows.begin; row < rows.begin + rows.count; ++row) {
      Slot(*rows.sequence, row) = history[static_cast<size_t>(row)];
    }
  }
  std::vector<int32_t> sampled;
  for (const PlannedRows& rows : plan.rows) {
    const std::vector<uint64_t>& history = histories[rows.sequence];
    for (int32_t row = 0; row < rows.begin + rows.count; ++row) {
      ASSERT_EQ(Slot(*rows.sequence, row), history[static_cast<size_t>(row)])
          << "row " << row << " of a sequence is not its own";
    }
    if (rows.samples) sampled.push_back(static_cast<int32_t>(history.back() % 3));
  }
  sampled_ = std::move(sampled);
}

uint64_t& SimulatedSteps::Slot(const Sequence& sequence, int32_t row) {
  const BlockId block = sequence.blocks[static_cast<size_t>(row / options_.block_size)];
  return slots_[static_cast<size_t>(block * options_.block_size + row % options_.block_size)];
}

}  // namespace tessera::testing
