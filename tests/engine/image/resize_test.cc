#include "engine/image/resize.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/engine/image/golden_images.h"

namespace tessera {
namespace {

using testing::HexDigest;
using testing::NoiseImage;

struct PillowCase {
  int width, height, target_width, target_height;
  const char* sha256;  // of NoiseImage(width, height) resized by Pillow 13.0.0
};

constexpr PillowCase kPillowCases[] = {
    {64, 48, 16, 12, "87b9cd0f0b0dc4f90a6d69da809c39c9fde2e0cf48868ed3cf96349cf6596513"},
    {31, 120, 56, 216, "c742b0bfebea5e87caebaf3ac63b8b2b3904c7077a881956ce258ed29b2cdeff"},
    {40, 90, 58, 58, "0d6f1a432cb2150d60d52e7b472da018a71f814d4ca025c85d5c3ed599412f7f"},
    {85, 218, 56, 143, "058dfb89734fcc917409b684572c1935b5a84eb13e94befaf9de5bf5dac9c18a"},
    {97, 61, 97, 30, "57ef5afb9c615de3889b4ef59492e110fcf9679c02026731063ab6f99efde8a6"},
    {97, 61, 30, 61, "a4613d1a8d904a88521c3f20ca5d367133c4872eeffb94e062a205734e28b01a"},
    {5, 7, 200, 3, "b3391c5265a52c27b2f3b517bab29bb5a1c6dd9a484e1dc49da66a38e265fabc"},
    {300, 2, 7, 9, "6dbea32e8ad3e9e4e67ae63a34c24abaefccc366a52baf2276996cf08bc2555b"},
    {2, 300, 9, 7, "39f50735fb05788ef4f892a70d09ecb324076319f52d3f525491122f91de62cc"},
    {33, 33, 33, 33, "689c2a44181f66f0d3cd4e60f84fbd50d712bbc0cd6c7908df7a46591aab760d"},
    {1, 1, 4, 5, "620a85c4eaf79b4895c1d3d03ba913567b282abaf77b9ac4b5a1cc20b434d6a8"},
    {257, 131, 336, 336, "3c7b3e12d36e884574f668e71fe1837b7df96c625448d68696fb21d2f8e58043"},
};

// The canvas in full.
Image Paint(const Image& image, const Canvas& canvas) {
  Image painted{canvas.width, canvas.height, {}};
  for (int y = 0; y < canvas.height; ++y) {
    for (int x = 0; x < canvas.width; ++x) {
      const int column = x - canvas.left;
      const int row = y - canvas.top;
      const bool inside = column >= 0 && column < image.width && row >= 0 && row < image.height;
      for (int c = 0; c < 3; ++c) {
        painted.rgb.push_back(inside ? image.rgb[(size_t{3} * row * image.width) + 3 * column + c]
                                     : canvas.colour[c]);
      }
    }
  }
  return painted;
}

Image Cut(const Image& image, const Window& window) {
  Image part{window.width, window.height, {}};
  for (int y = window.top; y < window.top + window.height; ++y) {
    const auto row = image.rgb.begin() + ptrdiff_t{3} * (y * image.width + window.left);
    part.rgb.insert(part.rgb.end(), row, row + ptrdiff_t{3} * window.width);
  }
  return part;
}

TEST(ResizeBicubic, EqualsPillow) {
  for (const PillowCase& expected : kPillowCases) {
    const Image image = NoiseImage(expected.width, expected.height);
    const Image resized = ResizeBicubic(image, expected.target_width, expected.target_height);
    EXPECT_EQ(resized.width, expected.target_width);
    EXPECT_EQ(resized.height, expected.target_height);
    EXPECT_EQ(HexDigest(resized.rgb), expected.sha256) << expected.width << "x" << expected.height;
  }
}

TEST(ResizeBicubic, SameSizeIsTheSameImage) {
  const Image image = NoiseImage(37, 21);
  EXPECT_EQ(ResizeBicubic(image, 37, 21).rgb, image.rgb);
}

TEST(ResizeBicubic, OneColourStaysThatColour) {
  for (const uint8_t level : {0, 1, 127, 254, 255}) {
    const Image image{501, 77, std::vector<uint8_t>(size_t{3} * 501 * 77, level)};
    const Image resized = ResizeBicubic(image, 19, 83);
    EXPECT_EQ(resized.rgb, std::vector<uint8_t>(resized.rgb.size(), level));
  }
}

struct CanvasCase {
  int width, height;  // of the image
  Canvas canvas;
  int target_width, target_height;
};

TEST(ResizeBicubic, VirtualCanvasEqualsAPaintedOne) {
  const std::array<uint8_t, 3> mean{122, 116, 104};
  const CanvasCase cases[] = {
      {1, 500, {500, 500, 249, 0, mean}, 56, 56},       // thin strips in a square
      {500, 1, {500, 500, 0, 249, mean}, 56, 56},       //
      {1, 500, {500, 500, 249, 0, {255, 0, 1}}, 3, 3},  // many taps per sample
      {20, 30, {30, 30, 5, 0, mean}, 336, 336},         // growing
      {20, 30, {30, 30, 5, 0, mean}, 30, 30},           // same size
      {40, 20, {60, 200, 13, 90, mean}, 58, 57},        // vertical pass first
      {40, 20, {60, 200, 0, 180, {9, 250, 3}}, 120, 12},
      {3, 3, {400, 90, 397, 0, mean}, 2, 200},
  };
  for (const CanvasCase& expected : cases) {
    const Image image = NoiseImage(expected.width, expected.height);
    const Window whole{0, 0, expected.target_width, expected.target_height};
    const Image virtually = ResizeBicubic(image, expected.canvas, whole.width, whole.height, whole);
    const Image painted = Paint(image, expected.canvas);
    EXPECT_EQ(virtually.rgb, ResizeBicubic(painted, whole.width, whole.height).rgb)
        << expected.width << "x" << expected.height << " on " << expected.canvas.width << "x"
        << expected.canvas.height;
  }
}

TEST(ResizeBicubic, WindowIsAPartOfTheWhole) {
  const std::array<std::array<int, 4>, 4> shapes = {
      {{90, 40, 126, 56}, {40, 90, 58, 58}, {85, 218, 56, 143}, {7, 9, 200, 300}}};
  for (const auto& [width, height, target_width, target_height] : shapes) {
    const Image image = NoiseImage(width, height);
    const Image whole = ResizeBicubic(image, target_width, target_height);
    for (const Window& window :
         {Window{0, 0, 1, 1}, Window{target_width - 5, target_height - 7, 5, 7},
          Window{target_width / 3, target_height / 4, target_width / 2, target_height / 2}}) {
      const Image part =
          ResizeBicubic(image, Canvas{width, height}, target_width, target_height, window);
      EXPECT_EQ(part.rgb, Cut(whole, window).rgb) << width << "x" << height;
    }
  }
}

}  // namespace
}  // namespace tessera
