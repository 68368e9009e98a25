// What decoding will cost is known from the header, bounded, and can be interrupted.
#include <gtest/gtest.h>
#include <webp/decode.h>

#include <atomic>

#include "engine/base/status.h"
#include "engine/image/image.h"
#include "engine/image/image_processor.h"
#include "engine/image/jpeg_scans.h"
#include "tests/engine/image/golden_images.h"
#include "tests/testing/images.h"

namespace tessera {
namespace {

// Cancelled after being asked `answers` times; counts how often it is asked.
class CancelLater final : public Cancellation {
 public:
  explicit CancelLater(int answers) : answers_(answers) {}
  bool Requested() const override { return asked_++ >= answers_; }
  int asked() const { return asked_; }

 private:
  const int answers_;
  mutable std::atomic<int> asked_ = 0;
};

absl::StatusOr<ImageHeader> Header(const std::string& bytes) {
  return ReadImageHeader(bytes, "", {});
}

TEST(ImageWorkTest, HeadersOfGoldenFilesAreCheapAndHaveTheirSize) {
  for (const auto& golden : testing::GoldenImages()) {
    const std::string name = golden["file"];
    const auto header = Header(testing::ReadImageFile(name));
    ASSERT_TRUE(header.ok()) << name << ": " << header.status();
    EXPECT_EQ(header->width, golden["width"]) << name;
    EXPECT_EQ(header->height, golden["height"]) << name;
    EXPECT_GT(header->work, 0) << name;
    EXPECT_GE(header->decoding_bytes, 3 * header->pixels()) << name;
    EXPECT_LT(header->work, ImageLimits().max_work / 4) << name;
  }
}

TEST(ImageWorkTest, GrowsWithPixelsAndScansWhateverTheBytes) {
  const auto jpeg = [](int side, int scans) {
    return Header(testing::RepeatedScansJpeg(side, side, scans)).value().work;
  };
  EXPECT_GT(jpeg(1000, 40), 2 * jpeg(1000, 10));
  EXPECT_NEAR(static_cast<double>(jpeg(4000, 10)) / static_cast<double>(jpeg(1000, 10)), 16, 1);
  EXPECT_NEAR(static_cast<double>(Header(testing::BlankWebp(8000, 8000)).value().work) /
                  static_cast<double>(Header(testing::BlankWebp(1000, 1000)).value().work),
              64, 1);
}

TEST(ImageWorkTest, ManyScansOfManyPixelsAreRefusedByTheHeader) {
  const std::string file = testing::RepeatedScansJpeg(8192, 8192, 64);
  EXPECT_LT(file.size(), 100'000u);
  for (const absl::Status& status : {Header(file).status(), DecodeImage(file, "", {}).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(StatusReason(status), "IMAGE_TOO_LARGE");
    EXPECT_NE(StatusMessage(status).find("of 64 scans, 8192x8192 pixels"), std::string_view::npos);
    EXPECT_NE(StatusMessage(status).find("limit 3.0 s"), std::string_view::npos);
  }
  EXPECT_TRUE(Header(testing::RepeatedScansJpeg(512, 512, 64)).ok());
  EXPECT_EQ(StatusReason(Header(testing::RepeatedScansJpeg(8, 8, 65)).status()),
            "IMAGE_DECODE_FAILED");
}

TEST(ImageWorkTest, ScansAreFoundByTheirMarkers) {
  using std::string_literals::operator""s;
  const std::string scan = "\xff\xda\0\x0a\x02\x01\0\x02\0\0\0\0"s;  // of components 1 and 2
  const struct {
    const char* what;
    std::string bytes;
    size_t scans;
  } cases[] = {
      {"none", "\xff\xd8\xff\xd9"s, 0},
      {"one", "\xff\xd8" + scan + "data\xff\xd9", 1},
      {"stuffed bytes and restarts are data", scan + "\xff\0\xff\xd3zz\xff\xff\xd7" + scan, 2},
      {"a comment that holds a marker", "\xff\xfe\0\x06\xff\xda\xff\xda"s + scan, 1},
      {"what follows the end", scan + "\xff\xd9" + scan, 1},
      {"a segment that is cut off", scan + "\xff\xfe\x7f\xff"s + scan, 1},
      {"a length that is none", scan + "\xff\xfe\0\1"s + scan, 1},
      {"a marker at the end", scan + "\xff", 1},
  };
  for (const auto& test : cases) {
    EXPECT_EQ(FindJpegScans(test.bytes, 10).size(), test.scans) << test.what;
  }
  const auto found = FindJpegScans(scan + scan + scan, 2);
  ASSERT_EQ(found.size(), 2u) << "the limit";
  EXPECT_EQ(found[0].components, 2);
  EXPECT_EQ(found[0].ids[1], 2);
}

TEST(ImageWorkTest, DecodingEndsWithinARowOrAScansRowOrAPiece) {
  const std::pair<const char*, std::string> files[] = {
      {"progressive JPEG, 64 scans of 40 rows of blocks", testing::RepeatedScansJpeg(320, 320, 64)},
      {"JPEG", testing::ReadImageFile("jpeg_q95_sub0.jpg")},
      {"PNG", testing::BlankPng(300, 300)},
      {"lossless WebP of 270 kB", testing::NoisyWebp(300, 300, true)},
      {"lossy WebP", testing::NoisyWebp(600, 600, false)},
  };
  for (const auto& [what, bytes] : files) {
    const CancelLater never(1 << 30);
    ASSERT_TRUE(DecodeImage(bytes, "", {}, never).ok()) << what;
    EXPECT_GE(never.asked(), 4) << what << " is asked too rarely";
    for (const int answers : {0, 1, never.asked() / 2, never.asked() - 1}) {
      const CancelLater later(answers);
      const auto image = DecodeImage(bytes, "", {}, later);
      EXPECT_EQ(image.status().code(), absl::StatusCode::kCancelled) << what << " " << answers;
      EXPECT_LE(later.asked(), answers + 2) << what << " went on";
    }
  }
}

TEST(ImageWorkTest, ProgressiveScansAreInterruptedBeforeTheirPixels) {
  const CancelLater never(1 << 30);
  ASSERT_TRUE(DecodeImage(testing::RepeatedScansJpeg(320, 320, 64), "", {}, never).ok());
  EXPECT_GE(never.asked(), 64 * 40) << "once for each row of blocks of each scan";
}

TEST(ImageWorkTest, ResizingEndsWithinARow) {
  const Image image = testing::NoiseImage(500, 900);
  const ImageProcessor processor;
  for (const ImageMode mode : {ImageMode::kPad, ImageMode::kCrop, ImageMode::kStretch}) {
    const CancelLater never(1 << 30);
    const Image whole = FitImage(image, processor, mode, never);
    EXPECT_EQ(whole.rgb, FitImage(image, processor, mode).rgb);
    EXPECT_GE(never.asked(), 336);
    const CancelLater later(3);
    FitImage(image, processor, mode, later);
    EXPECT_LE(later.asked(), 5);
  }
}

TEST(ImageWorkTest, WebpInPiecesGivesTheSamePixels) {
  for (const bool lossless : {true, false}) {
    const std::string file = testing::NoisyWebp(301, 403, lossless);
    int width = 0;
    int height = 0;
    uint8_t* expected =
        WebPDecodeRGB(reinterpret_cast<const uint8_t*>(file.data()), file.size(), &width, &height);
    ASSERT_NE(expected, nullptr);
    const std::vector<uint8_t> rgb(expected, expected + size_t{3} * width * height);
    WebPFree(expected);
    const auto image = DecodeImage(file, "", {});
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(image->rgb, rgb) << (lossless ? "lossless" : "lossy");
  }
}

}  // namespace
}  // namespace tessera
