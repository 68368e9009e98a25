#include "engine/image/views.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

// Pixels that say where they are: 10000 · channel + 100 · y + x.
std::vector<float> Places(int size) {
  std::vector<float> pixels;
  for (int channel = 0; channel < 3; ++channel) {
    for (int y = 0; y < size; ++y) {
      for (int x = 0; x < size; ++x) pixels.push_back(10000.0f * channel + 100.0f * y + x);
    }
  }
  return pixels;
}

std::vector<float> ThreePlanes(const std::vector<float>& plane) {
  std::vector<float> pixels;
  for (int channel = 0; channel < 3; ++channel) {
    for (const float value : plane) pixels.push_back(value + 1000.0f * channel);
  }
  return pixels;
}

TEST(ViewsTest, OneScaleIsTheImageInPatches) {
  const std::vector<int> scales = {1};
  const std::vector<float> patches = CutViews(Places(4), 4, scales, 2);
  ASSERT_EQ(patches.size(), 48u);
  const std::vector<float> second(patches.begin() + 12, patches.begin() + 24);  // top right
  EXPECT_EQ(second, (std::vector<float>{2, 3, 102, 103, 10002, 10003, 10102, 10103, 20002, 20003,
                                        20102, 20103}));
}

TEST(ViewsTest, WhatIsLeftBeyondTheLastWholePatchIsDropped) {
  const std::vector<int> scales = {1};
  const std::vector<float> patches = CutViews(Places(5), 5, scales, 2);
  ASSERT_EQ(patches.size(), 48u);
  EXPECT_EQ(patches[36], 202) << "the last patch begins at (2, 2)";
  EXPECT_EQ(patches[47], 20303);
}

TEST(ViewsTest, TilesGoLineByLineAfterTheSmallerScale) {
  const std::vector<int> scales = {1, 2};
  const std::vector<float> patches = CutViews(Places(4), 4, scales, 2);
  ASSERT_EQ(patches.size(), 5u * 12);
  const float first_pixels[] = {0, 2, 200, 202};
  for (size_t tile = 0; tile < 4; ++tile) {
    EXPECT_EQ(patches[12 * (tile + 1)], first_pixels[tile]) << "tile " << tile;
  }
  EXPECT_EQ(patches.back(), 20303);
}

TEST(ViewsTest, TheLargestScaleIsTheImageItself) {
  const std::vector<int> scales = {1, 3};
  const std::vector<float> pixels = Places(6);
  const std::vector<float> patches = CutViews(pixels, 6, scales, 2);
  ASSERT_EQ(patches.size(), 10u * 12);
  const std::vector<float> tile(patches.begin() + 12 * 6, patches.begin() + 12 * 6 + 4);
  EXPECT_EQ(tile, (std::vector<float>{204, 205, 304, 305})) << "second line, third tile";
}

// Half size falls between pixels: weights -3/32, 19/32, 19/32, -3/32 along each axis, edges
// repeated.
TEST(ViewsTest, HalvingWeighsFourPixelsAlongEachAxis) {
  const std::vector<float> line = {1, 2, 4, 8};
  std::vector<float> plane;
  for (int y = 0; y < 4; ++y) plane.insert(plane.end(), line.begin(), line.end());
  const std::vector<float> half = InterpolateBicubic(ThreePlanes(plane), 4, 2);
  ASSERT_EQ(half.size(), 12u);
  const float left = (-3 * 1 + 19 * 1 + 19 * 2 - 3 * 4) / 32.0f;
  const float right = (-3 * 2 + 19 * 4 + 19 * 8 - 3 * 8) / 32.0f;
  for (size_t channel = 0; channel < 3; ++channel) {
    for (size_t y = 0; y < 2; ++y) {
      EXPECT_FLOAT_EQ(half[channel * 4 + y * 2], left + 1000.0f * channel);
      EXPECT_FLOAT_EQ(half[channel * 4 + y * 2 + 1], right + 1000.0f * channel);
    }
  }
}

TEST(ViewsTest, InterpolationTreatsBothAxesAlike) {
  std::vector<float> plane(36, 0);
  plane[7] = 1;  // (1, 1)
  const std::vector<float> small = InterpolateBicubic(ThreePlanes(plane), 6, 4);
  for (size_t y = 0; y < 4; ++y) {
    for (size_t x = 0; x < 4; ++x) EXPECT_EQ(small[y * 4 + x], small[x * 4 + y]);
  }
  // Target pixel 0 lies at 0.25: the kernel at distance 0.75 is 0.26171875.
  EXPECT_FLOAT_EQ(small[0], 0.26171875f * 0.26171875f);
}

TEST(ViewsTest, SameSizeChangesNothing) {
  EXPECT_EQ(InterpolateBicubic(Places(5), 5, 5), Places(5));
}

}  // namespace
}  // namespace tessera
