#include "engine/step/batch_builder.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

using Ints = std::vector<int32_t>;

class FakeBuffer : public Buffer {
 public:
  explicit FakeBuffer(Tensor tensor) : tensor_(tensor) {}
  Tensor tensor() const override { return tensor_; }

 private:
  Tensor tensor_;
};

// Its memory is never read: only its address tells images apart.
ImageFeaturesPtr MakeEncoded(float* data, int32_t first_row, int32_t rows) {
  auto image = std::make_shared<ImageFeatures>();
  image->features =
      std::make_shared<FakeBuffer>(Tensor(DType::kFloat32, {first_row + rows, 1}, data));
  image->first_row = first_row;
  image->rows = rows;
  return image;
}

// A sequence with what a batch needs of its request beside it.
struct FakeRequest : Sequence {
  std::vector<ImageFeaturesPtr> images;
  uint64_t seed = 0;
};

// Its sequence has `tokens`, of which the images' rows are the placeholders.
std::unique_ptr<FakeRequest> MakeRequest(Ints tokens, std::vector<BlockId> blocks,
                                         uint64_t seed = 0) {
  static Ticket last_ticket = 0;
  auto request = std::make_unique<FakeRequest>();
  request->ticket = ++last_ticket;
  request->prompt.rows = tokens;
  request->tokens = std::move(tokens);
  request->blocks = std::move(blocks);
  request->seed = seed;
  return request;
}

void AddSpan(FakeRequest& request, int32_t begin, ImageFeaturesPtr image) {
  const int32_t index = static_cast<int32_t>(request.images.size());
  request.prompt.spans.push_back({begin, image ? image->rows : 2, index});
  request.images.push_back(std::move(image));
}

// In blocks of 4. All sequences of the plan are FakeRequests.
BuiltBatch Build(const StepPlan& plan, int position_axes = 1, bool with_router_seeds = false) {
  std::vector<SequenceInput> inputs;
  for (const PlannedRows& rows : plan.rows) {
    const auto& request = static_cast<const FakeRequest&>(*rows.sequence);
    inputs.push_back({request.images, request.seed});
  }
  return BuildBatch(plan, inputs, 4, position_axes, with_router_seeds);
}

TEST(BatchBuilderTest, FlattensRowsOfSeveralSequences) {
  const auto a = MakeRequest({10, 11, 12, 13, 14}, {3, 1});
  const auto b = MakeRequest({20, 21, 22, 23, 24, 25, 26, 27, 28}, {5, 0, 7});
  StepPlan plan;
  plan.rows = {{a.get(), 4, 1, true}, {b.get(), 3, 4, false}};
  const BuiltBatch built = Build(plan);
  const Batch& batch = built.batch;
  EXPECT_EQ(batch.ids, (Ints{14, 23, 24, 25, 26}));
  EXPECT_EQ(batch.positions, (Ints{4, 3, 4, 5, 6}));
  EXPECT_EQ(batch.slots, (Ints{4, 23, 0, 1, 2}));
  EXPECT_EQ(batch.query_starts, (Ints{0, 1, 5}));
  EXPECT_EQ(batch.context_lengths, (Ints{5, 7}));
  EXPECT_EQ(batch.max_blocks, 3);
  EXPECT_EQ(batch.block_tables, (Ints{3, 1, 0, 5, 0, 7}));
  EXPECT_EQ(batch.logit_rows, Ints{0});
  EXPECT_EQ(built.sampling, std::vector<Ticket>{a->ticket});
  EXPECT_EQ(built.image_row, std::vector<bool>(5, false));
  EXPECT_TRUE(batch.images.empty());
  EXPECT_TRUE(batch.router_seeds.empty());
  EXPECT_EQ(batch.prompt_rows, (Ints{1, 4}));
  EXPECT_EQ(batch.has_images, std::vector<bool>(2, false));
  EXPECT_EQ(batch.rows(), 5);
  EXPECT_EQ(batch.sequences(), 2);
}

TEST(BatchBuilderTest, TablesOfAnswersAreOfFewWidths) {
  const auto a = MakeRequest(Ints(9, 1), {3, 1, 4});
  const auto b = MakeRequest(Ints(17, 2), {5, 0, 7, 8, 9});
  StepPlan plan;
  plan.rows = {{a.get(), 8, 1, true}, {b.get(), 16, 1, true}};
  const Batch batch = Build(plan).batch;
  EXPECT_EQ(batch.max_blocks, 8);
  EXPECT_EQ(batch.block_tables, (Ints{3, 1, 4, 0, 0, 0, 0, 0, 5, 0, 7, 8, 9, 0, 0, 0}));
  plan.rows[1] = {b.get(), 15, 2, true};
  EXPECT_EQ(Build(plan).batch.max_blocks, 5);
}

TEST(BatchBuilderTest, TellsPromptsFromAnswers) {
  constexpr int32_t kImage = kImagePlaceholder;
  float pixels[1];
  const auto a = MakeRequest({kImage, kImage, 1, 2}, {0, 1});
  AddSpan(*a, 0, MakeEncoded(pixels, 0, 2));
  a->tokens.insert(a->tokens.end(), {7, 8});
  const auto b = MakeRequest({1, 2, 3}, {2, 3});
  b->tokens.push_back(9);
  StepPlan plan;
  plan.rows = {{a.get(), 1, 5, true}, {b.get(), 3, 1, true}};
  const Batch batch = Build(plan).batch;
  EXPECT_EQ(batch.prompt_rows, (Ints{3, 0}));
  EXPECT_EQ(batch.has_images, (std::vector<bool>{true, false}));
}

TEST(BatchBuilderTest, LogitRowsAreTheLastOnesOfThoseThatSample) {
  const auto a = MakeRequest({1, 2, 3}, {0});
  const auto b = MakeRequest({4, 5, 6}, {1});
  const auto c = MakeRequest({7, 8}, {2});
  StepPlan plan;
  plan.rows = {{a.get(), 0, 3, true}, {b.get(), 0, 2, false}, {c.get(), 1, 1, true}};
  const BuiltBatch built = Build(plan);
  EXPECT_EQ(built.batch.logit_rows, (Ints{2, 5}));
  EXPECT_EQ(built.sampling, (std::vector<Ticket>{a->ticket, c->ticket}));
}

TEST(BatchBuilderTest, RouterSeedsFollowTheirSequences) {
  const auto a = MakeRequest({1, 2}, {0}, 77);
  const auto b = MakeRequest({3}, {1}, 99);
  StepPlan plan;
  plan.rows = {{a.get(), 0, 2, true}, {b.get(), 0, 1, true}};
  const Batch random = Build(plan, 1, true).batch;
  EXPECT_EQ(random.router_seeds, (std::vector<uint64_t>{77, 77, 99}));
  EXPECT_EQ(random.router_rows, random.positions);
}

TEST(BatchBuilderTest, ImageRowsAreThoseOfTheChunk) {
  float first[1], second[1];
  constexpr int32_t kImage = kImagePlaceholder;
  // Rows: 0 text, 1-4 image 0, 5 text, 6-8 image 1, 9 text.
  const auto b =
      MakeRequest({1, kImage, kImage, kImage, kImage, 2, kImage, kImage, kImage, 3}, {2, 0, 1});
  AddSpan(*b, 1, MakeEncoded(first, 0, 4));
  AddSpan(*b, 6, MakeEncoded(second, 30, 3));  // rows 30 to 32 of what was encoded together
  const auto a = MakeRequest({9, 9}, {3});
  StepPlan plan;
  plan.rows = {{a.get(), 1, 1, true}, {b.get(), 3, 5, false}};  // rows 3 to 7
  const BuiltBatch built = Build(plan);
  EXPECT_EQ(built.batch.ids, (Ints{9, 0, 0, 2, 0, 0})) << "image rows have no id";
  EXPECT_EQ(built.image_row, (std::vector<bool>{false, true, true, false, true, true}));
  ASSERT_EQ(built.batch.images.size(), 2u);
  EXPECT_EQ(built.batch.images[0].features.data, first);
  EXPECT_EQ(built.batch.images[0].source, (Ints{2, 3}));
  EXPECT_EQ(built.batch.images[0].target, (Ints{1, 2}));
  EXPECT_EQ(built.batch.images[1].features.data, second);
  EXPECT_EQ(built.batch.images[1].source, (Ints{30, 31}));
  EXPECT_EQ(built.batch.images[1].target, (Ints{4, 5}));
}

TEST(BatchBuilderTest, ImagesOutsideTheChunkNeedNotBeThere) {
  constexpr int32_t kImage = kImagePlaceholder;
  const auto request = MakeRequest({kImage, kImage, 5, 6, kImage, kImage}, {0, 1});
  AddSpan(*request, 0, nullptr);
  AddSpan(*request, 4, nullptr);
  StepPlan plan;
  plan.rows = {{request.get(), 2, 2, false}};
  const BuiltBatch built = Build(plan);
  EXPECT_TRUE(built.batch.images.empty());
  EXPECT_EQ(built.batch.ids, (Ints{5, 6}));
}

TEST(BatchBuilderTest, AnEmptyPlanIsAnEmptyBatch) {
  const BuiltBatch built = Build(StepPlan(), 1, true);
  EXPECT_EQ(built.batch.rows(), 0);
  EXPECT_EQ(built.batch.sequences(), 0);
  EXPECT_EQ(built.batch.query_starts, Ints{0});
  EXPECT_TRUE(built.sampling.empty());
}

TEST(BatchBuilderTest, SpatialPositionsGoOnBehindThePrompt) {
  const auto a = MakeRequest({1, -200, -200, -200, -200, -200, -200, 2, 3, 4}, {0, 1, 2});
  a->prompt.positions.emplace();
  SpatialPositions& positions = *a->prompt.positions;
  positions.AddText(1);
  positions.AddImage(2, 3);
  positions.AddText(1);
  const auto b = MakeRequest({5, 6}, {3});
  StepPlan plan;
  plan.rows = {{a.get(), 5, 5, true}, {b.get(), 1, 1, true}};
  const Batch batch = Build(plan, 3).batch;
  EXPECT_EQ(batch.positions, (Ints{1, 1, 4, 5, 6, 1,     // time
                                   2, 2, 4, 5, 6, 1,     // row
                                   2, 3, 4, 5, 6, 1}));  // column
}

TEST(BatchBuilderTest, TellsWhereTheTapsOfAnImageLie) {
  float data = 0;
  const auto a = MakeRequest({-200, -200, 7}, {0});
  auto image = std::make_shared<ImageFeatures>(*MakeEncoded(&data, 3, 2));
  image->taps = 2;
  image->level_rows = 9;
  AddSpan(*a, 0, image);
  StepPlan plan;
  plan.rows = {{a.get(), 1, 2, true}};
  const Batch batch = Build(plan).batch;
  ASSERT_EQ(batch.images.size(), 1u);
  EXPECT_EQ(batch.images[0].source, (Ints{4}));
  EXPECT_EQ(batch.images[0].taps, 2);
  EXPECT_EQ(batch.images[0].level_rows, 9);
}

}  // namespace
}  // namespace tessera
