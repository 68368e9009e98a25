// Random runs of the scheduler over SimulatedSteps, which checks every plan and every row of the
// simulated cache.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>

#include "tests/testing/simulated_steps.h"

namespace tessera {
namespace {

using testing::SimulatedSteps;

class RandomRun {
 public:
  RandomRun(uint32_t seed, bool ahead)
      : random_(seed), options_(MakeOptions()), steps_(options_, MakeBlocks(), ahead) {}

  void Run(int sequences) {
    int step = 0;
    while (sequences > 0 || !steps_.idle()) {
      ASSERT_LT(++step, 40000) << "no end";
      while (sequences > 0 && Below(3) == 0) {
        Start();
        --sequences;
      }
      for (Sequence* sequence : steps_.scheduler().running()) EncodeSome(*sequence);
      if (Below(40) == 0) RemoveSome();
      const StepBudget budget = {Below(24) + 1, Below(25)};
      const bool under_way = steps_.under_way();
      overtook += !steps_.Step(budget).rows.empty() && under_way ? 1 : 0;
      if (::testing::Test::HasFailure()) return;
    }
    EXPECT_EQ(steps_.pool().used(), 0);
    for (const auto& sequence : sequences_) {
      EXPECT_EQ(sequence->state, SequenceState::kFinished);
      EXPECT_LE(sequence->cached_rows, sequence->prompt_rows());
      preempted += sequence->preemptions > 0 ? 1 : 0;
      reused += sequence->cached_rows > 0 ? 1 : 0;
    }
  }

  int preempted = 0;  // sequences
  int reused = 0;
  int overtook = 0;  // steps that were planned while tokens were unknown

 private:
  int32_t Below(int32_t end) {
    return static_cast<int32_t>(random_() % static_cast<uint32_t>(end));
  }
  SchedulerOptions MakeOptions() {
    const bool whole_prompts = Below(8) == 0;
    return {.block_size = 1 << Below(4),
            .max_running = 1 + Below(8),
            .prefix_cache = !whole_prompts && Below(8) != 0,
            .whole_prompts = whole_prompts};
  }
  int32_t MakeBlocks() { return 2 + Below(12); }

  // A prompt that often begins as others do, and fits with its answer; sometimes to the last row.
  void Start() {
    auto sequence = testing::MakeSequence(Below(6) == 0 ? "other" : "");
    const int32_t capacity = steps_.scheduler().capacity_rows() + 1;
    const int32_t wanted = 1 + Below(std::min(capacity - 1, 60));
    const int32_t kind = Below(3);
    while (sequence->prompt_rows() < wanted) {
      const int32_t left = wanted - sequence->prompt_rows();
      const int32_t rows = 3 + kind;
      if (Below(5) == 0 && left >= rows) {
        testing::AddImage(*sequence, Below(3), rows);
      } else {
        testing::AddText(*sequence, {{Below(8) == 0 ? 1 : kind}});
      }
    }
    const int32_t most = capacity - sequence->prompt_rows();
    sequence->max_rows =
        sequence->prompt_rows() + (Below(4) == 0 ? most : 1 + Below(std::min(most, 20)));
    steps_.Add(sequence.get());
    sequences_.push_back(std::move(sequence));
  }

  void EncodeSome(Sequence& sequence) {
    for (const ImageSpan& span : sequence.prompt.spans) {
      if (span.begin + span.rows <= sequence.computed || Below(3) != 0) continue;
      sequence.image_ready[static_cast<size_t>(span.image)] = true;
    }
  }

  void RemoveSome() {
    if (sequences_.empty()) return;
    Sequence* sequence = sequences_[random_() % sequences_.size()].get();
    if (sequence->state != SequenceState::kFinished) steps_.Remove(sequence);
  }

  std::mt19937 random_;
  SchedulerOptions options_;
  SimulatedSteps steps_;
  std::vector<std::unique_ptr<Sequence>> sequences_;
};

class SchedulerRandomTest : public ::testing::TestWithParam<bool> {};

TEST_P(SchedulerRandomTest, KeepsItsInvariantsAndEverySequenceItsOwnCache) {
  int preempted = 0;
  int reused = 0;
  int overtook = 0;
  for (uint32_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    RandomRun run(seed, GetParam());
    ASSERT_NO_FATAL_FAILURE(run.Run(40));
    ASSERT_FALSE(HasFailure());
    preempted += run.preempted;
    reused += run.reused;
    overtook += run.overtook;
  }
  // Of 8000 sequences: the runs must have come to what they are about.
  EXPECT_GT(preempted, 400);
  EXPECT_GT(reused, 400);
  EXPECT_EQ(overtook > 10000, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Ahead, SchedulerRandomTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Ahead" : "Waiting"; });

}  // namespace
}  // namespace tessera
