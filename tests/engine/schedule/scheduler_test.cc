#include "engine/schedule/scheduler.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>

#include "tests/testing/simulated_steps.h"

namespace tessera {
namespace {

using testing::MakeText;
using testing::SimulatedSteps;

// A plan in short: "name:count" of each entry, in order; "!" after those that sample.
std::string Brief(const StepPlan& plan, const std::vector<const Sequence*>& names) {
  std::string text;
  for (const PlannedRows& rows : plan.rows) {
    size_t name = 0;
    while (name < names.size() && names[name] != rows.sequence) ++name;
    text += (text.empty() ? "" : " ") + std::string(1, static_cast<char>('a' + name)) + ":" +
            std::to_string(rows.count) + (rows.samples ? "!" : "");
  }
  return text;
}

constexpr SchedulerOptions kFour = {.block_size = 4, .max_running = 8, .prefix_cache = true};
constexpr StepBudget kAmple = {1000, 1000};

TEST(SchedulerTest, FirstComeFirstServedInChunksThenDecodingFirst) {
  SimulatedSteps steps(kFour, 100);
  const auto a = MakeText(100, 7, 3);
  const auto b = MakeText(200, 5, 3);
  const auto c = MakeText(300, 2, 3);
  for (Sequence* sequence : {a.get(), b.get(), c.get()}) steps.Add(sequence);
  const char* const expected[] = {"a:5", "a:2! b:3", "a:1! b:2! c:2!", "a:1! b:1! c:1!",
                                  "b:1! c:1!"};
  for (const char* brief : expected) {
    EXPECT_EQ(Brief(steps.Step({5, 5}), {a.get(), b.get(), c.get()}), brief);
  }
  EXPECT_TRUE(steps.idle());
  EXPECT_EQ(steps.Step({5, 5}).total_rows, 0);
}

TEST(SchedulerTest, YoungerDecodingRowsComeBeforeOlderPrefill) {
  SimulatedSteps steps(kFour, 100);
  const auto a = testing::MakeSequence();
  testing::AddImage(*a, 1, 6);
  a->max_rows = 8;
  const auto b = MakeText(200, 3, 5);
  steps.Add(a.get());
  steps.Add(b.get());
  EXPECT_EQ(Brief(steps.Step({4, 4}), {a.get(), b.get()}), "b:3!");
  a->image_ready[0] = true;
  EXPECT_EQ(Brief(steps.Step({4, 4}), {a.get(), b.get()}), "b:1! a:3");
  EXPECT_EQ(Brief(steps.Step({4, 2}), {a.get(), b.get()}), "b:1! a:2");
}

TEST(SchedulerTest, ThePrefillLimitHoldsNoDecodingRowBack) {
  SimulatedSteps steps(kFour, 100);
  const auto a = MakeText(100, 2, 9);
  const auto b = MakeText(200, 2, 9);
  const auto c = MakeText(300, 9, 2);
  for (Sequence* sequence : {a.get(), b.get(), c.get()}) steps.Add(sequence);
  EXPECT_EQ(Brief(steps.Step({10, 4}), {a.get(), b.get(), c.get()}), "a:2! b:2!");
  EXPECT_EQ(Brief(steps.Step({10, 3}), {a.get(), b.get(), c.get()}), "a:1! b:1! c:3");
  EXPECT_EQ(Brief(steps.Step({10, 0}), {a.get(), b.get(), c.get()}), "a:1! b:1!");
  EXPECT_EQ(Brief(steps.Step({4, 9}), {a.get(), b.get(), c.get()}), "a:1! b:1! c:2");
  EXPECT_EQ(Brief(steps.Step({1, 9}), {a.get(), b.get(), c.get()}), "a:1!") << "the oldest alone";
  EXPECT_EQ(Brief(steps.Step({0, 0}), {a.get(), b.get(), c.get()}), "");
}

TEST(SchedulerTest, AdmissionNeedsBlocksForAllRowsAndNobodyOvertakes) {
  SimulatedSteps steps(kFour, 4);
  const auto a = MakeText(100, 9, 2);  // 3 blocks
  const auto b = MakeText(200, 5, 1);  // 2 blocks: one too many
  const auto c = MakeText(300, 1, 1);  // would fit
  for (Sequence* sequence : {a.get(), b.get(), c.get()}) steps.Add(sequence);
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get(), b.get(), c.get()}), "a:9!");
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get(), b.get(), c.get()}), "a:1!");
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get(), b.get(), c.get()}), "b:5! c:1!");
  EXPECT_TRUE(steps.idle());
}

TEST(SchedulerTest, PlacesAreLimited) {
  SimulatedSteps steps({.block_size = 4, .max_running = 2, .prefix_cache = true}, 100);
  const auto a = MakeText(100, 2, 1);
  const auto b = MakeText(200, 2, 2);
  const auto c = MakeText(300, 2, 1);
  for (Sequence* sequence : {a.get(), b.get(), c.get()}) steps.Add(sequence);
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get(), b.get(), c.get()}), "a:2! b:2!");
  EXPECT_EQ(steps.scheduler().waiting(), 1);
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get(), b.get(), c.get()}), "b:1! c:2!");
}

TEST(SchedulerTest, ImageRowsWaitForTheirImage) {
  SimulatedSteps steps(kFour, 100);
  const auto a = testing::MakeSequence();
  testing::AddText(*a, {{1, 2, 3}});
  testing::AddImage(*a, 1, 6);
  testing::AddText(*a, {{4}});
  testing::AddImage(*a, 2, 6);
  testing::AddText(*a, {{5, 6}});
  a->max_rows = 20;
  steps.Add(a.get());
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get()}), "a:3");
  a->image_ready[1] = true;  // the second is of no use yet
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get()}), "");
  EXPECT_EQ(steps.pool().used(), 1) << "keeps what it has";
  a->image_ready[0] = true;
  a->image_ready[1] = false;
  EXPECT_EQ(Brief(steps.Step({4, 4}), {a.get()}), "a:4") << "part of an image";
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get()}), "a:3");
  a->image_ready[1] = true;
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get()}), "a:8!");
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get()}), "a:1!");
}

TEST(SchedulerTest, WholePromptsAreNotCut) {
  SimulatedSteps steps(
      {.block_size = 4, .max_running = 8, .prefix_cache = false, .whole_prompts = true}, 100);
  const auto a = MakeText(100, 7, 3);
  const auto b = MakeText(200, 5, 2);
  const auto c = testing::MakeSequence();
  testing::AddText(*c, {{1, 2, 3}});
  testing::AddImage(*c, 1, 2);
  c->max_rows = 6;
  const std::vector<const Sequence*> names = {a.get(), b.get(), c.get()};
  for (Sequence* sequence : {a.get(), b.get(), c.get()}) steps.Add(sequence);
  EXPECT_EQ(Brief(steps.Step({4, 4}), names), "a:7!") << "beyond the budget, and alone";
  EXPECT_EQ(Brief(steps.Step({4, 0}), names), "a:1!") << "no prefill at all";
  EXPECT_EQ(Brief(steps.Step({4, 4}), names), "a:1! b:5!");
  EXPECT_EQ(Brief(steps.Step({4, 4}), names), "b:1!") << "c waits for its image, text and all";
  c->image_ready[0] = true;
  EXPECT_EQ(Brief(steps.Step({4, 4}), names), "c:5!");
  EXPECT_TRUE(steps.idle());
}

TEST(SchedulerTest, AnAnswerComputedApartIsNoPromptsPrefix) {
  for (const bool apart : {false, true}) {
    SimulatedSteps steps(kFour, 100);
    const auto first = MakeText(100, 6, 8);
    first->answer_apart = apart;
    steps.Add(first.get());
    ASSERT_TRUE(steps.Finish(kAmple, 20));
    const auto again = testing::MakeSequence();  // the whole conversation as a prompt
    testing::AddText(*again, first->tokens);
    again->max_rows = again->prompt_rows() + 1;
    again->answer_apart = apart;
    steps.Add(again.get());
    ASSERT_TRUE(steps.Finish(kAmple, 20));
    EXPECT_EQ(again->cached_rows, apart ? 4 : 12);
  }
}

TEST(SchedulerTest, CommonPrefixesAreComputedOnce) {
  SimulatedSteps steps(kFour, 100);
  const auto a = MakeText(100, 11, 2);
  const auto b = MakeText(100, 13, 2);
  const auto c = MakeText(100, 13, 2);
  c->tokens[5] = c->prompt.rows[5] = 999;  // in the second block
  steps.Add(a.get());
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get()}), "a:11!");
  steps.Add(b.get());
  steps.Add(c.get());
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get(), b.get(), c.get()}), "a:1! b:5! c:9!");
  EXPECT_EQ(b->blocks[1], a->blocks.empty() ? b->blocks[1] : a->blocks[1]);
  EXPECT_EQ(b->cached_rows, 8);
  EXPECT_EQ(c->cached_rows, 4);
  EXPECT_EQ(steps.scheduler().counts().queried_rows, 37u);
  EXPECT_EQ(steps.scheduler().counts().hit_rows, 12u);
}

TEST(SchedulerTest, WithoutAPrefixCacheNothingIsReused) {
  SimulatedSteps steps({.block_size = 4, .max_running = 8, .prefix_cache = false}, 100);
  for (int i = 0; i < 2; ++i) {
    const auto a = MakeText(100, 8, 1);
    steps.Add(a.get());
    EXPECT_EQ(Brief(steps.Step(kAmple), {a.get()}), "a:8!");
    EXPECT_EQ(a->cached_rows, 0);
  }
  EXPECT_EQ(steps.pool().cached(), 0);
}

TEST(SchedulerTest, AWhollyKnownPromptComputesItsLastRowInACopy) {
  SimulatedSteps steps(kFour, 100);
  const auto a = MakeText(100, 8, 1);
  const auto b = MakeText(100, 8, 3);
  steps.Add(a.get());
  steps.Step(kAmple);
  steps.Add(b.get());
  const StepPlan plan = steps.Step(kAmple);
  EXPECT_EQ(Brief(plan, {a.get(), b.get()}), "b:1!");
  EXPECT_EQ(plan.rows[0].begin, 7);
  ASSERT_EQ(plan.copies.size(), 1u);
  EXPECT_EQ(plan.copies[0].to, b->blocks[1]);
  EXPECT_NE(plan.copies[0].from, b->blocks[1]);
  EXPECT_EQ(b->cached_rows, 7);
  EXPECT_TRUE(steps.Finish(kAmple, 2));
}

// The copy would need one block more than there are.
TEST(SchedulerTest, AWhollyKnownPromptThatFillsTheCacheRunsAgain) {
  for (const int32_t blocks : {1, 2, 4}) {
    SimulatedSteps steps(kFour, blocks);
    for (int round = 0; round < 3; ++round) {
      const auto a = MakeText(100, 4 * blocks, 1);
      steps.Add(a.get());
      ASSERT_TRUE(steps.Finish(kAmple, 5)) << "waits for ever, " << blocks << " blocks";
    }
  }
}

TEST(SchedulerTest, AWhollyKnownPromptWaitsForABlockToCopyTo) {
  SimulatedSteps steps(kFour, 3);
  const auto a = MakeText(100, 8, 4);
  const auto b = MakeText(100, 8, 1);
  steps.Add(a.get());
  steps.Step(kAmple);
  steps.Step(kAmple);  // now holds all three blocks
  steps.Add(b.get());
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get(), b.get()}), "a:1!");
  EXPECT_EQ(steps.scheduler().waiting(), 1);
  EXPECT_TRUE(steps.Finish(kAmple, 3));
}

TEST(SchedulerTest, WhenBlocksRunOutTheYoungestGivesUpItsOwn) {
  SimulatedSteps steps(kFour, 3);
  const auto a = MakeText(100, 4, 5);
  const auto b = MakeText(200, 3, 5);
  const auto c = MakeText(300, 3, 5);
  for (Sequence* sequence : {a.get(), b.get(), c.get()}) steps.Add(sequence);
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get(), b.get(), c.get()}), "a:4! b:3! c:3!");
  // a needs a second block, b and c still have room: c is the youngest.
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get(), b.get(), c.get()}), "a:1! b:1!");
  EXPECT_EQ(a->preemptions + b->preemptions, 0);
  EXPECT_EQ(c->preemptions, 1);
  EXPECT_EQ(c->state, SequenceState::kWaiting);
  EXPECT_TRUE(c->blocks.empty());
  EXPECT_EQ(c->generated(), 1) << "what was answered stays";
  EXPECT_EQ(steps.scheduler().counts().preemptions, 1u);
  // Now b needs one: it is the youngest itself and may not take a's.
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get(), b.get(), c.get()}), "a:1!");
  EXPECT_EQ(a->preemptions, 0);
  EXPECT_TRUE(steps.Finish(kAmple, 30));
  EXPECT_EQ(a->preemptions, 0);
}

TEST(SchedulerTest, APreemptedSequenceGoesOnWhereItWas) {
  const auto run = [](int32_t blocks, bool prefix_cache) {
    SimulatedSteps steps({.block_size = 4, .max_running = 8, .prefix_cache = prefix_cache}, blocks);
    const auto a = MakeText(100, 6, 14);
    const auto b = MakeText(200, 7, 12);
    steps.Add(a.get());
    steps.Add(b.get());
    EXPECT_TRUE(steps.Finish(kAmple, 100));
    EXPECT_EQ(b->preemptions > 0, blocks < 10);
    EXPECT_EQ(steps.pool().used(), 0);
    return b->tokens;
  };
  const std::vector<int32_t> expected = run(100, true);
  EXPECT_EQ(expected.size(), 19u);
  for (const int32_t blocks : {5, 6, 7, 8}) {
    EXPECT_EQ(run(blocks, true), expected) << blocks;
    EXPECT_EQ(run(blocks, false), expected) << blocks;
  }
}

TEST(SchedulerTest, PrefillTakesTheBlocksOfAYoungerSequenceThatWasPlanned) {
  SimulatedSteps steps(kFour, 4);
  const auto a = testing::MakeSequence();
  testing::AddImage(*a, 1, 12);  // 3 blocks, none taken while the image is missing
  a->max_rows = 13;
  const auto b = MakeText(200, 7, 5);
  steps.Add(a.get());
  steps.Add(b.get());
  EXPECT_EQ(Brief(steps.Step(kAmple), {a.get(), b.get()}), "b:7!");
  a->image_ready[0] = true;
  // b's decoding row is planned first, then a takes b's blocks. SimulatedSteps checks the plan's
  // counts and the prefill limit.
  const StepPlan plan = steps.Step({14, 12});
  EXPECT_EQ(Brief(plan, {a.get(), b.get()}), "a:12!");
  EXPECT_EQ(plan.decoding_rows, 0);
  EXPECT_EQ(b->preemptions, 1);
  EXPECT_TRUE(steps.Finish(kAmple, 10));
}

TEST(SchedulerTest, RemovingFreesAllAtEveryStage) {
  for (int stage = 0; stage < 5; ++stage) {
    SimulatedSteps steps(kFour, 2);
    const auto a = MakeText(100, 4, 5);
    const auto b = MakeText(200, 4, 5);
    const auto c = MakeText(300, 4, 5);
    Sequence* victim = b.get();
    for (Sequence* sequence : {a.get(), b.get()}) steps.Add(sequence);
    if (stage == 1) steps.Step({6, 6});           // half of its prompt
    if (stage >= 2) steps.Step(kAmple);           // decoding
    if (stage >= 3) steps.Step(kAmple);           // preempted by a
    if (stage == 4) steps.Add(victim = c.get());  // waits behind
    ASSERT_EQ(b->preemptions, stage >= 3 ? 1 : 0);
    steps.Remove(victim);
    EXPECT_TRUE(steps.Finish(kAmple, 40)) << stage;
    EXPECT_EQ(steps.pool().used(), 0) << stage;
    EXPECT_EQ(a->generated(), 5);
  }
}

// ----------------------------------------------------------------------------------------------------------------
// hashes

std::vector<Digest> Hashes(Sequence& sequence) {
  ExtendHashes(sequence, 4);
  return sequence.hashes;
}

// Text, an image of 6 rows from row `begin` on, text up to 16 rows.
std::unique_ptr<Sequence> WithImage(int image, int32_t begin, std::string_view salt = "") {
  auto sequence = testing::MakeSequence(salt);
  testing::AddText(*sequence, std::vector<int32_t>(static_cast<size_t>(begin), 7));
  testing::AddImage(*sequence, image, 6);
  testing::AddText(*sequence, std::vector<int32_t>(static_cast<size_t>(10 - begin), 7));
  return sequence;
}

TEST(ExtendHashesTest, CoverFullBlocksAndGrowWithTheTokens) {
  const auto whole = MakeText(1, 12, 0);
  const auto grown = MakeText(1, 3, 0);
  EXPECT_EQ(Hashes(*grown).size(), 0u);
  for (int32_t token = 4; token <= 12; ++token) {
    grown->tokens.push_back(token);
    EXPECT_EQ(Hashes(*grown).size(), static_cast<size_t>(token / 4));
  }
  EXPECT_EQ(Hashes(*grown), Hashes(*whole)) << "an answer's rows are hashed like a prompt's";
}

TEST(ExtendHashesTest, CoverEverythingBefore) {
  const auto a = MakeText(1, 12, 0);
  const auto b = MakeText(1, 12, 0);
  b->tokens[5] = 99;
  EXPECT_EQ(Hashes(*a)[0], Hashes(*b)[0]);
  EXPECT_NE(Hashes(*a)[1], Hashes(*b)[1]);
  EXPECT_NE(Hashes(*a)[2], Hashes(*b)[2]) << "equal tokens after different ones";
  const auto repeated = testing::MakeSequence();
  testing::AddText(*repeated, std::vector<int32_t>(8, 5));
  EXPECT_NE(Hashes(*repeated)[0], Hashes(*repeated)[1]) << "equal tokens at another place";
}

TEST(ExtendHashesTest, SaltsSeparate) {
  EXPECT_NE(Hashes(*WithImage(1, 4, "x"))[0], Hashes(*WithImage(1, 4, "y"))[0]);
  EXPECT_EQ(Hashes(*WithImage(1, 4, "x")), Hashes(*WithImage(1, 4, "x")));
}

TEST(ExtendHashesTest, ImagesSeparateFromTheirFirstBlockOn) {
  const std::vector<Digest> one = Hashes(*WithImage(1, 5));
  const std::vector<Digest> two = Hashes(*WithImage(2, 5));
  EXPECT_EQ(one[0], two[0]);
  for (size_t block = 1; block < 4; ++block) EXPECT_NE(one[block], two[block]) << block;
}

// Blocks of placeholders alone, after equal histories: only the image and the place in it tell
// them apart.
TEST(ExtendHashesTest, ThePlaceInTheImageCounts) {
  const auto rows_of_image = [](int32_t first_row) {
    Sequence sequence;
    testing::AddImage(sequence, 1, 20);
    sequence.prompt.spans[0].begin = -first_row;  // the block begins `first_row` rows into it
    sequence.tokens.resize(4);
    return Hashes(sequence).at(0);
  };
  EXPECT_NE(rows_of_image(0), rows_of_image(1));
  EXPECT_NE(rows_of_image(0), rows_of_image(16));
  EXPECT_EQ(rows_of_image(3), rows_of_image(3));
}

TEST(ExtendHashesTest, OrderAndBoundsOfImagesInABlockCount) {
  const auto images = [](std::vector<std::pair<int, int32_t>> list) {
    Sequence sequence;
    for (const auto& [image, rows] : list) testing::AddImage(sequence, image, rows);
    return Hashes(sequence).at(0);
  };
  EXPECT_NE(images({{1, 2}, {2, 2}}), images({{2, 2}, {1, 2}}));
  EXPECT_NE(images({{1, 1}, {2, 3}}), images({{1, 3}, {2, 1}}));
  EXPECT_NE(images({{1, 4}}), images({{1, 2}, {1, 2}}));
  Sequence text;
  testing::AddText(text, std::vector<int32_t>(4, kImagePlaceholder));
  EXPECT_NE(Hashes(text).at(0), images({{1, 4}}));
}

}  // namespace
}  // namespace tessera
