// Sizes of images that keep their shape, against what transformers' smart_resize gives, and the
// order of their patches.
#include "engine/image/native_size.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"

namespace tessera {
namespace {

using Json = nlohmann::json;

TEST(NativeSizeTest, SizesOfTheReference) {
  const struct {
    int width, height, to_width, to_height;
  } cases[] = {
      {1920, 1080, 1920, 1088}, {224, 224, 256, 256},     {9, 7, 320, 256},
      {100, 50, 384, 192},      {8000, 6000, 4704, 3520}, {2400, 30, 2400, 32},
      {320, 320, 320, 320},     {336, 336, 320, 320},  // 10.5 windows: to the even number
      {304, 304, 320, 320},                            // 9.5 windows
      {368, 368, 384, 384},                            // 11.5 windows
      {16, 3200, 32, 3648},                            // half a window: 0, then grown
  };
  for (const auto& test : cases) {
    const auto grid = FitGrid(test.width, test.height, NativeSize());
    ASSERT_TRUE(grid.ok()) << grid.status();
    EXPECT_EQ(grid->cols * 16, test.to_width) << test.width << "x" << test.height;
    EXPECT_EQ(grid->rows * 16, test.to_height) << test.width << "x" << test.height;
  }
}

TEST(NativeSizeTest, AStripKeepsAWindowAlthoughItsAreaIsThenOverTheLimit) {
  NativeSize size;
  size.min_pixels = 1024;
  size.max_pixels = 4096;
  const auto grid = FitGrid(6000, 30, size);
  ASSERT_TRUE(grid.ok()) << grid.status();
  EXPECT_EQ(grid->rows, 2);
  EXPECT_EQ(grid->cols * 16, 896);  // 6000 / sqrt(6000 · 30 / 4096), in whole windows
}

TEST(NativeSizeTest, NoGridIsLongerThanTheLongestSide) {
  for (const int64_t most : {4096, 40960, 301056, 409600, 16777216}) {
    NativeSize size;
    size.min_pixels = 1024;
    size.max_pixels = most;
    for (int width = 1; width < 300; ++width) {
      for (const int height : {200 * width, 150 * width, 40 * width}) {
        const auto grid = FitGrid(width, height, size);
        ASSERT_TRUE(grid.ok()) << grid.status();
        EXPECT_LE(grid->rows * 16, size.longest_side()) << width << "x" << height << " in " << most;
      }
    }
  }
}

TEST(NativeSizeTest, TwoHundredTimesAsLongAsWideIsTheLimit) {
  EXPECT_TRUE(FitGrid(2000, 10, NativeSize()).ok());
  EXPECT_TRUE(FitGrid(10, 2000, NativeSize()).ok());
  for (const auto& status :
       {FitGrid(2001, 10, NativeSize()).status(), FitGrid(1, 10000, NativeSize()).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("more than 200 times"), std::string::npos) << status;
  }
}

TEST(NativeSizeTest, WindowsOneAfterAnother) {
  const std::vector<std::pair<int, int>> expected = {{0, 0}, {0, 1}, {1, 0}, {1, 1},
                                                     {0, 2}, {0, 3}, {1, 2}, {1, 3}};
  EXPECT_EQ(WindowOrder({2, 4}, 2), expected);
}

TEST(NativeSizeTest, APatchHoldsColoursThenFramesThenLines) {
  const NativeSize size = {.patch_size = 2, .merge = 1, .frames = 2};
  std::vector<float> pixels;  // two patches side by side: lines 0 1 2 3 and 4 5 6 7 of each colour
  for (int colour = 0; colour < 3; ++colour) {
    for (int i = 0; i < 8; ++i) pixels.push_back(static_cast<float>(10 * colour + i));
  }
  EXPECT_EQ(CutWindows(pixels, {1, 2}, size),
            (std::vector<float>{0,  1,  4,  5,  0,  1,  4,  5,  10, 11, 14, 15, 10, 11, 14, 15,
                                20, 21, 24, 25, 20, 21, 24, 25, 2,  3,  6,  7,  2,  3,  6,  7,
                                12, 13, 16, 17, 12, 13, 16, 17, 22, 23, 26, 27, 22, 23, 26, 27}));
}

TEST(NativeSizeTest, ReadsThePublishedProcessor) {
  const Json json = {{"size", {{"longest_edge", 16777216}, {"shortest_edge", 65536}}},
                     {"patch_size", 16},
                     {"temporal_patch_size", 2},
                     {"merge_size", 2},
                     {"image_mean", {0.5, 0.5, 0.5}},
                     {"image_std", {0.5, 0.5, 0.5}},
                     {"processor_class", "Qwen3VLProcessor"},
                     {"image_processor_type", "Qwen2VLImageProcessorFast"}};
  const auto processor = ParseNativeProcessor(json);
  ASSERT_TRUE(processor.ok()) << processor.status();
  EXPECT_EQ(processor->size.min_pixels, 65536);
  EXPECT_EQ(processor->size.max_pixels, 16777216);
  EXPECT_EQ(processor->size.side(), 32);
  EXPECT_EQ(processor->colours.mean[1], 0.5f);
  Json own = json;
  own["min_pixels"] = 2048;
  own["max_pixels"] = 4096;
  EXPECT_EQ(ParseNativeProcessor(own)->size.min_pixels, 2048);
  EXPECT_EQ(ParseNativeProcessor(own)->size.max_pixels, 4096);
}

TEST(NativeSizeTest, WhatIsLeftOutIsAsInTheClass) {
  const auto processor = ParseNativeProcessor(Json::object());
  ASSERT_TRUE(processor.ok()) << processor.status();
  EXPECT_EQ(processor->size.patch_size, 14);
  EXPECT_EQ(processor->size.merge, 2);
  EXPECT_EQ(processor->size.frames, 2);
  EXPECT_EQ(processor->size.min_pixels, 3136);
  EXPECT_EQ(processor->size.max_pixels, 1003520);
  EXPECT_EQ(processor->colours.mean[0], 0.48145466f);
  EXPECT_EQ(processor->colours.std[2], 0.27577711f);
}

TEST(NativeSizeTest, RefusesWhatItCannotDo) {
  const std::pair<Json, const char*> cases[] = {
      {{{"image_processor_type", "CLIPImageProcessor"}}, "image_processor_type"},
      {{{"patch_size", 0}}, "patch_size is 0"},
      {{{"merge_size", "2"}}, "merge_size is \"2\""},
      {{{"size", {{"longest_edge", 1024}, {"shortest_edge", 2048}}}}, "at least 2048"},
      {{{"size", {{"longest_edge", 1024}}}}, "expected shortest_edge"},
      {{{"size", {{"longest_edge", 9000}, {"shortest_edge", nullptr}}}}, "expected shortest_edge"},
      {{{"size", {{"longest_edge", 9000}, {"shortest_edge", 9}, {"height", 5}}}},
       "expected shortest_edge"},
      {{{"max_pixels", 100}, {"min_pixels", 1}}, "for one token"},
      {{{"image_std", {0.5, 0.0, 0.5}}}, "image_std"},
      {{{"do_resize", false}}, "do_resize"},
      {Json::array(), "expected an object"},
  };
  for (const auto& [json, message] : cases) {
    const absl::Status status = ParseNativeProcessor(json).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(StatusMessage(status).find(message), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace tessera
