// Images with an orientation tag against what Pillow makes of them.
#include "engine/image/orientation.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/image/exif.h"
#include "engine/prepare/image_preparer.h"
#include "tests/engine/image/golden_images.h"
#include "tests/testing/data_path.h"

namespace tessera {
namespace {

std::string ReadFile(const std::string& name) {
  std::ifstream file(testing::DataPath("golden/exif") / name, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  EXPECT_FALSE(bytes.str().empty()) << name;
  return bytes.str();
}

TEST(OrientationTest, EveryFileStandsAsPillowTurnsIt) {
  const auto expected = nlohmann::json::parse(ReadFile("upright.json"));
  EXPECT_GT(expected.size(), 25u);
  for (const auto& [name, facts] : expected.items()) {
    const std::string bytes = ReadFile(name);
    const int orientation = ReadOrientation(bytes);
    const auto stored = ReadImageHeader(bytes, "", {});
    ASSERT_TRUE(stored.ok()) << name << stored.status();
    const ImageSize size = UprightSize({stored->width, stored->height}, orientation);
    EXPECT_EQ(size.width, facts[0]) << name;
    EXPECT_EQ(size.height, facts[1]) << name;
    auto image = DecodeImage(bytes, "", {});
    ASSERT_TRUE(image.ok()) << name << image.status();
    const Image upright = TurnUpright(*std::move(image), orientation);
    EXPECT_EQ(upright.width, facts[0]) << name;
    EXPECT_EQ(upright.height, facts[1]) << name;
    EXPECT_EQ(testing::HexDigest(upright.rgb), facts[2]) << name;
  }
}

// Cut at every length and with every byte changed, files say something or nothing.
TEST(OrientationTest, BrokenFilesSayNothingWrong) {
  for (const char* name : {"jpeg_long.jpg", "png_6.png", "webp_5_marked.webp", "png_xmp.png"}) {
    const std::string whole = ReadFile(name);
    const std::string beginning = whole.substr(0, 260);
    for (size_t i = 0; i < beginning.size(); ++i) {
      std::string changed = beginning;
      for (const char value : {'\0', '\x7f', '\xff'}) {
        changed[i] = value;
        const int orientation = ReadOrientation(changed);
        EXPECT_TRUE(orientation >= 1 && orientation <= 8) << name << i;
      }
      ReadOrientation(whole.substr(0, i));
    }
  }
  EXPECT_EQ(ReadOrientation(""), 1);
  EXPECT_EQ(ExifOrientation(""), std::nullopt);
  EXPECT_EQ(ExifOrientation("MM"), std::nullopt);
}

// An image of any shape takes its tokens from the shape that it stands in, and whoever turns sees
// the same pixels in a turned image and an upright one.
TEST(OrientationTest, AFamilyTurnsImagesOrTakesThemAsStored) {
  const EncodedImage phone{ReadFile("phone.jpg"), "image/jpeg"};
  const EncodedImage upright{ReadFile("upright.png"), "image/png"};
  ImageFormat format;
  format.taken = true;
  format.patch_size = 16;
  format.processor.size = 64;
  format.native = NativeSize{.min_pixels = 1024, .max_pixels = 1 << 20};
  for (const bool native : {true, false}) {
    if (!native) format.native.reset();
    for (const bool turns : {true, false}) {
      format.upright = turns;
      const ImagePreparer preparer(format, {}, 0);
      const auto phone_plan = preparer.Plan(phone, {});
      const auto upright_plan = preparer.Plan(upright, {});
      ASSERT_TRUE(phone_plan.ok() && upright_plan.ok());
      const auto a = preparer.Prepare(phone, *phone_plan, ImageMode::kCrop, kNeverCancelled);
      const auto b = preparer.Prepare(upright, *upright_plan, ImageMode::kCrop, kNeverCancelled);
      ASSERT_TRUE(a.ok() && b.ok()) << a.status() << b.status();
      EXPECT_EQ(a->digest == b->digest, turns);
      EXPECT_EQ(a->patches == b->patches, turns);
      if (native) {
        EXPECT_EQ(upright_plan->grid.rows, 6);
        EXPECT_EQ(phone_plan->grid.rows, turns ? 6 : 4);
      }
    }
  }
}

}  // namespace
}  // namespace tessera
