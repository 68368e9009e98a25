#include "engine/image/image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "engine/base/status.h"
#include "tests/engine/image/golden_images.h"

namespace tessera {
namespace {

using testing::ReadImageFile;

std::string BigEndian(uint32_t value, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    text += static_cast<char>(value >> shift);
  }
  return text;
}

// CRC-32 of PNG (RFC 2083, appendix 15), bit by bit.
uint32_t Crc32(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0u);
  }
  return ~crc;
}

std::string PngChunk(const std::string& type, const std::string& data) {
  return BigEndian(static_cast<uint32_t>(data.size()), 4) + type + data +
         BigEndian(Crc32(type + data), 4);
}

constexpr size_t kPngHeaderEnd = 8 + 25;  // signature and IHDR

// A gray PNG file of any size whose pixels are missing.
std::string PngHeader(uint32_t width, uint32_t height) {
  const std::string ihdr =
      BigEndian(width, 4) + BigEndian(height, 4) + std::string("\x8\0\0\0\0", 5);
  return std::string("\x89PNG\r\n\x1a\n") + PngChunk("IHDR", ihdr) + PngChunk("IDAT", "x");
}

// `jpeg` with another size in its frame header.
std::string WithJpegSize(std::string jpeg, uint32_t width, uint32_t height) {
  const size_t frame = jpeg.find(std::string("\xff\xc0", 2));
  EXPECT_NE(frame, std::string::npos);
  return jpeg.replace(frame + 5, 4, BigEndian(height, 2) + BigEndian(width, 2));
}

void ExpectError(const std::string& bytes, const std::string& mime_type, const ImageLimits& limits,
                 std::string_view reason, const std::string& message) {
  const auto image = DecodeImage(bytes, mime_type, limits);
  ASSERT_FALSE(image.ok()) << message;
  EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusReason(image.status()), reason);
  EXPECT_NE(StatusMessage(image.status()).find(message), std::string_view::npos)
      << StatusMessage(image.status()) << "\nexpected: " << message;
}

void ExpectBroken(const std::string& bytes, const std::string& message) {
  ExpectError(bytes, "", {}, "IMAGE_DECODE_FAILED", message);
}

TEST(DecodeImage, EqualsPillowOnEveryGoldenFile) {
  for (const auto& golden : testing::GoldenImages()) {
    const std::string name = golden["file"];
    const auto image = DecodeImage(ReadImageFile(name), "", {});
    ASSERT_TRUE(image.ok()) << name << ": " << image.status();
    EXPECT_EQ(image->width, golden["width"]) << name;
    EXPECT_EQ(image->height, golden["height"]) << name;
    EXPECT_EQ(testing::HexDigest(image->rgb), golden["rgb_sha256"]) << name;
  }
}

TEST(DecodeImage, MimeTypeMustAgreeWithTheBytes) {
  const std::array<std::array<std::string, 2>, 3> files = {{{"jpeg_gray.jpg", "image/jpeg"},
                                                            {"png_2x3.png", "image/png"},
                                                            {"webp_lossy.webp", "image/webp"}}};
  for (const auto& [name, mime_type] : files) {
    const std::string bytes = ReadImageFile(name);
    EXPECT_TRUE(DecodeImage(bytes, mime_type, {}).ok()) << name;
    for (const std::string other : {"image/jpeg", "image/png", "image/webp", "image/gif", "x"}) {
      if (other == mime_type) continue;
      ExpectError(bytes, other, {}, "IMAGE_DECODE_FAILED", "but the bytes are " + mime_type);
    }
  }
}

TEST(DecodeImage, RefusesWhatIsNoImage) {
  ExpectBroken("", "no bytes");
  ExpectBroken("GIF89a", "no JPEG, PNG or WebP");
  ExpectBroken("RIFF....WAVE", "no JPEG, PNG or WebP");
  ExpectBroken("RIFF", "no JPEG, PNG or WebP");
  ExpectBroken("\xff\xd8\xff", "JPEG file cannot be decoded");
  ExpectBroken("\x89PNG\r\n\x1a\n", "PNG file cannot be decoded: the file is truncated");
  ExpectBroken("RIFF....WEBP", "WebP file cannot be decoded");
  ExpectBroken("RIFF....WEBPVP8X", "WebP file cannot be decoded");
}

TEST(DecodeImage, RefusesEmptyAndHugeSizesByTheHeader) {
  ExpectBroken(PngHeader(0, 5), "PNG file cannot be decoded");
  ExpectBroken(PngHeader(5, 0), "PNG file cannot be decoded");
  ExpectError(PngHeader(30000, 30000), "", {}, "IMAGE_TOO_LARGE",
              "PNG image is 30000x30000 = 900000000 pixels, limit 67108864; send a smaller one");
  ExpectError(PngHeader(2147483647, 1), "", {}, "IMAGE_TOO_LARGE", "limit 32768 a side");
  const std::string jpeg = ReadImageFile("jpeg_gray.jpg");
  ExpectBroken(WithJpegSize(jpeg, 0, 10), "JPEG file cannot be decoded");
  ExpectBroken(WithJpegSize(jpeg, 10, 0), "JPEG file cannot be decoded");
  ExpectError(WithJpegSize(jpeg, 65500, 65500), "", {}, "IMAGE_TOO_LARGE", "65500x65500");
  ExpectError(WithJpegSize(jpeg, 20000, 20000), "", {}, "IMAGE_TOO_LARGE", "400000000 pixels");
}

TEST(DecodeImage, LimitsAreExact) {
  for (const auto& golden : testing::GoldenImages()) {
    const std::string bytes = ReadImageFile(golden["file"]);
    const int width = golden["width"];
    const int height = golden["height"];
    const ImageLimits exact{static_cast<int64_t>(bytes.size()), int64_t{width} * height,
                            std::max(width, height)};
    EXPECT_TRUE(DecodeImage(bytes, "", exact).ok()) << golden["file"];
    ImageLimits limits = exact;
    --limits.max_bytes;
    ExpectError(bytes, "", limits, "IMAGE_TOO_LARGE", "bytes, limit");
    limits = exact;
    --limits.max_pixels;
    ExpectError(bytes, "", limits, "IMAGE_TOO_LARGE", "send a smaller one");
    limits = exact;
    --limits.max_side;
    ExpectError(bytes, "", limits, "IMAGE_TOO_LARGE", "a side; send a smaller one");
  }
}

// Behind the pixels a file may hold some bytes that nobody misses, but never a fifth of it.
TEST(DecodeImage, TruncatedFilesAreErrorsAndNeverCrash) {
  for (const auto& golden : testing::GoldenImages()) {
    const std::string bytes = ReadImageFile(golden["file"]);
    const size_t step = std::max<size_t>(1, bytes.size() / 150);
    for (size_t size = 0; size < bytes.size(); size += step) {
      const auto image = DecodeImage(bytes.substr(0, size), "", {});
      if (5 * size < 4 * bytes.size()) {
        EXPECT_FALSE(image.ok()) << golden["file"] << " cut to " << size;
      }
    }
  }
}

TEST(DecodeImage, DamagedFilesNeverCrash) {
  uint32_t state = 1;
  const auto random = [&](size_t bound) {
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % bound;
  };
  const ImageLimits limits{.max_pixels = 1 << 18};
  int refused = 0;
  for (const auto& golden : testing::GoldenImages()) {
    const std::string bytes = ReadImageFile(golden["file"]);
    for (int round = 0; round < 60; ++round) {
      std::string damaged = bytes;
      const size_t reach = round % 2 == 0 ? std::min<size_t>(bytes.size(), 400) : bytes.size();
      for (size_t i = 0; i <= random(4); ++i)
        damaged[random(reach)] = static_cast<char>(random(256));
      if (!DecodeImage(damaged, "", limits).ok()) ++refused;
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(DecodeImage, SkipsTextAndProfileChunksUnread) {
  const std::string png = ReadImageFile("png_2x3.png");
  const auto plain = DecodeImage(png, "", {});
  ASSERT_TRUE(plain.ok());
  std::string chunks;
  for (const std::string type : {"zTXt", "iCCP", "iTXt"}) {
    chunks += PngChunk(type, "name" + std::string(2, '\0') + std::string(1 << 20, 'z'));
  }
  for (int i = 0; i < 2000; ++i) chunks += PngChunk("tEXt", std::string("a\0b", 3));
  const auto padded =
      DecodeImage(png.substr(0, kPngHeaderEnd) + chunks + png.substr(kPngHeaderEnd), "", {});
  ASSERT_TRUE(padded.ok()) << padded.status();
  EXPECT_EQ(padded->rgb, plain->rgb);
}

TEST(DecodeImage, RefusesEndlessJpegScans) {
  const std::string jpeg = ReadImageFile("jpeg_progressive.jpg");
  const size_t scan = jpeg.rfind(std::string("\xff\xda", 2));
  ASSERT_NE(scan, std::string::npos);
  const std::string last = jpeg.substr(scan, jpeg.size() - 2 - scan);
  std::string bytes = jpeg.substr(0, jpeg.size() - 2);
  for (int i = 0; i < 20; ++i) bytes += last;
  EXPECT_TRUE(DecodeImage(bytes + "\xff\xd9", "", {}).ok());
  for (int i = 0; i < 60; ++i) bytes += last;
  ExpectBroken(bytes + "\xff\xd9", "more than 64 scans");
}

}  // namespace
}  // namespace tessera
