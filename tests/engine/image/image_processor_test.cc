#include "engine/image/image_processor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "engine/base/status.h"
#include "engine/image/resize.h"
#include "tests/engine/image/golden_images.h"

namespace tessera {
namespace {

using Json = nlohmann::json;

Json ClipConfig(int size) {
  return Json::parse(R"({
    "image_processor_type": "CLIPImageProcessor",
    "do_center_crop": true, "do_convert_rgb": true, "do_normalize": true, "do_rescale": true,
    "do_resize": true, "resample": 3, "rescale_factor": 0.00392156862745098,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711]})")
      .patch(Json::array({{{"op", "add"}, {"path", "/size"}, {"value", {{"shortest_edge", size}}}},
                          {{"op", "add"},
                           {"path", "/crop_size"},
                           {"value", {{"height", size}, {"width", size}}}}}));
}

Json SiglipConfig(int size) {
  return {{"image_processor_type", "SiglipImageProcessor"},
          {"size", {{"height", size}, {"width", size}}},
          {"image_mean", {0.5, 0.5, 0.5}},
          {"image_std", {0.5, 0.5, 0.5}},
          {"resample", 3}};
}

ImageProcessor Parsed(const Json& config) {
  const auto processor = ParseImageProcessor(config);
  EXPECT_TRUE(processor.ok()) << processor.status();
  return processor.value_or(ImageProcessor());
}

Image Decoded(const std::string& name) {
  auto image = DecodeImage(testing::ReadImageFile(name), "", {});
  EXPECT_TRUE(image.ok()) << image.status();
  return *std::move(image);
}

// What the reference makes of an image one pixel high has one channel, of which ours has three
// copies.
std::vector<uint8_t> FirstChannel(const Image& image) {
  std::vector<uint8_t> channel;
  for (size_t i = 0; i < image.rgb.size(); i += 3) {
    EXPECT_TRUE(image.rgb[i] == image.rgb[i + 1] && image.rgb[i] == image.rgb[i + 2]);
    channel.push_back(image.rgb[i]);
  }
  return channel;
}

TEST(FitImage, EqualsTheReferenceOnEveryGoldenFile) {
  struct Variant {
    std::string key;
    ImageProcessor processor;
    ImageMode mode;
  };
  std::vector<Variant> variants;
  for (const int size : {56, 336}) {
    const std::string name = fmt::format("clip{}", size);
    variants.push_back({name + "_pad_sha256", Parsed(ClipConfig(size)), ImageMode::kPad});
    variants.push_back({name + "_crop_sha256", Parsed(ClipConfig(size)), ImageMode::kCrop});
  }
  for (const int size : {58, 384}) {
    const std::string name = fmt::format("siglip{}", size);
    variants.push_back({name + "_pad_sha256", Parsed(SiglipConfig(size)), ImageMode::kPad});
    variants.push_back({name + "_direct_sha256", Parsed(SiglipConfig(size)), ImageMode::kStretch});
  }
  for (const auto& golden : testing::GoldenImages()) {
    const Image image = Decoded(golden["file"]);
    for (const Variant& variant : variants) {
      const bool padded = variant.mode == ImageMode::kPad;
      const Image fitted = FitImage(image, variant.processor, variant.mode);
      const int rows = padded ? std::max(image.width, image.height) : image.height;
      const auto bytes = rows == 1 ? FirstChannel(fitted) : fitted.rgb;
      EXPECT_EQ(testing::HexDigest(bytes), golden[variant.key])
          << golden["file"] << " " << variant.key;
    }
  }
}

TEST(FitImage, LongStripsAreCheapInEveryMode) {
  const ImageProcessor processor = Parsed(ClipConfig(336));
  for (const auto& [width, height] : {std::pair{2, 32768}, std::pair{32768, 2}}) {
    const Image strip = testing::NoiseImage(width, height);
    for (const ImageMode mode : {ImageMode::kPad, ImageMode::kCrop, ImageMode::kStretch}) {
      EXPECT_EQ(FitImage(strip, processor, mode).rgb.size(), size_t{3} * 336 * 336);
    }
  }
}

TEST(FitImage, PadLaysTheOddRowAtTheBottom) {
  ImageProcessor processor = Parsed(ClipConfig(5));
  const Image image{5, 2, std::vector<uint8_t>(30, 255)};
  const Image fitted = FitImage(image, processor, ImageMode::kPad);
  for (int y = 0; y < 5; ++y) {
    EXPECT_EQ(fitted.rgb[15 * y], y == 1 || y == 2 ? 255 : 122) << y;
  }
}

TEST(NormalizeImage, IsPlanarFloat32) {
  const ImageProcessor processor = Parsed(ClipConfig(224));
  Image image{2, 1, {0, 128, 255, 7, 200, 31}};
  const std::vector<float> planes = NormalizeImage(image, processor);
  ASSERT_EQ(planes.size(), 6u);
  for (int c = 0; c < 3; ++c) {
    for (int x = 0; x < 2; ++x) {
      const double mean = std::array{0.48145466, 0.4578275, 0.40821073}[c];
      const double std = std::array{0.26862954, 0.26130258, 0.27577711}[c];
      EXPECT_NEAR(planes[2 * c + x], (image.rgb[3 * x + c] / 255.0 - mean) / std, 5e-7);
    }
  }
  EXPECT_EQ(planes[0], (0.0f - 0.48145466f) / 0.26862954f);
}

TEST(ParseImageProcessor, ReadsBothFamilies) {
  const ImageProcessor clip = Parsed(ClipConfig(56));
  EXPECT_EQ(clip.size, 56);
  EXPECT_EQ(clip.mean[1], 0.4578275f);
  EXPECT_EQ(clip.std[2], 0.27577711f);
  EXPECT_EQ(clip.pad_colour, (std::array<uint8_t, 3>{122, 116, 104}));
  EXPECT_EQ(clip.unpadded, ImageMode::kCrop);
  const ImageProcessor siglip = Parsed(SiglipConfig(384));
  EXPECT_EQ(siglip.size, 384);
  EXPECT_EQ(siglip.pad_colour, (std::array<uint8_t, 3>{127, 127, 127}));
  EXPECT_EQ(siglip.unpadded, ImageMode::kStretch);
}

TEST(ParseImageProcessor, ReadsOldFilesAndFillsDefaults) {
  const ImageProcessor old = Parsed({{"feature_extractor_type", "CLIPFeatureExtractor"},
                                     {"size", 336},
                                     {"crop_size", 336},
                                     {"do_center_crop", true}});
  EXPECT_EQ(old.size, 336);
  EXPECT_EQ(old.mean, ImageProcessor().mean);
  EXPECT_EQ(Parsed(Json::object()).size, 224);
  EXPECT_EQ(Parsed({{"image_processor_type", "SiglipImageProcessor"}}).std[0], 0.5f);
}

// By transformers 4.57 and 5.24 (CLIPImageProcessor, SiglipImageProcessor): both sides named are
// both resized to; SigLIP knows no shortest one, and an integer beside default_to_square means one
// thing in 4 and another in 5.
TEST(ParseImageProcessor, ASizeSaysWhichSidesItMeans) {
  Json clip = ClipConfig(56);
  clip["size"] = {{"height", 56}, {"width", 56}, {"shortest_edge", nullptr}};
  EXPECT_EQ(Parsed(clip).unpadded, ImageMode::kStretch);
  clip["do_center_crop"] = false;
  EXPECT_EQ(Parsed(clip).size, 56);
  clip["size"] = 56;
  EXPECT_FALSE(ParseImageProcessor(clip).ok()) << "nothing cuts the longer side";
  clip["do_center_crop"] = true;
  EXPECT_EQ(Parsed(clip).unpadded, ImageMode::kCrop);
  clip["default_to_square"] = true;
  EXPECT_FALSE(ParseImageProcessor(clip).ok());
  for (const Json& size : {Json(384), Json{{"shortest_edge", 384}}}) {
    Json siglip = SiglipConfig(384);
    siglip["size"] = size;
    EXPECT_FALSE(ParseImageProcessor(siglip).ok()) << size;
  }
}

TEST(ParseImageProcessor, WhereNoClassIsNamedTheCallersCounts) {
  Json config = SiglipConfig(384);
  config.erase("image_processor_type");
  const auto siglip = ParseImageProcessor(config, ImageProcessorClass::kSiglip);
  ASSERT_TRUE(siglip.ok()) << siglip.status();
  EXPECT_EQ(*siglip, Parsed(SiglipConfig(384)));
}

TEST(ParseImageProcessor, NamesWhatItCannotDo) {
  struct Case {
    const char* key;
    Json value;
    const char* message;
  };
  const Case cases[] = {
      {"image_processor_type", "BlipImageProcessor", "\"BlipImageProcessor\", only"},
      {"do_resize", false, "do_resize is false"},
      {"do_rescale", nullptr, "do_rescale is null"},
      {"do_normalize", 1, "do_normalize is 1"},
      {"do_center_crop", false, "do_center_crop is false"},
      {"resample", 2, "resample is 2, only 3 is supported"},
      {"resample", "cubic", "resample is \"cubic\""},
      {"rescale_factor", 0.5, "rescale_factor is 0.5"},
      {"size", 0, "size is 0, expected a side of 1 to 4096 pixels"},
      {"size", -3, "size is -3"},
      {"size", 4097, "size is 4097"},
      {"size", 1e300, "size is 1e+300"},
      {"size", "big", "size is \"big\""},
      {"size", {{"longest_edge", 5}}, "size is {\"longest_edge\":5}"},
      {"size", {{"height", 5}, {"width", 6}}, "only squares are supported"},
      {"size", {{"height", 5}}, "expected shortest_edge alone, or height and width"},
      {"size", {{"shortest_edge", 56}, {"longest_edge", 56}}, "expected shortest_edge alone"},
      {"crop_size", {{"shortest_edge", 56}}, "expected height and width"},
      {"image_processor_type", "CLIPSegImageProcessor", "\"CLIPSegImageProcessor\", only"},
      {"image_processor_type", "Siglip2ImageProcessor", "\"Siglip2ImageProcessor\", only"},
      {"image_processor_type", 3, "image_processor_type is 3"},
      {"crop_size", 57, "crop_size 57 differs from size 56"},
      {"image_mean", {0.5, 0.5}, "image_mean is [0.5,0.5], expected three numbers"},
      {"image_mean", {0.5, 0.5, "x"}, "image_mean is"},
      {"image_mean", {0.5, 0.5, 1.5}, "image_mean holds 1.5"},
      {"image_std", {0.5, 0.0, 0.5}, "image_std holds 0"},
      {"image_std", 0.5, "image_std is 0.5"},
  };
  for (const Case& wrong : cases) {
    Json config = ClipConfig(56);
    config[wrong.key] = wrong.value;
    const auto processor = ParseImageProcessor(config);
    ASSERT_FALSE(processor.ok()) << wrong.message;
    EXPECT_EQ(processor.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(StatusMessage(processor.status()).find(wrong.message), std::string_view::npos)
        << StatusMessage(processor.status()) << "\nexpected: " << wrong.message;
  }
  EXPECT_FALSE(ParseImageProcessor(Json::array()).ok());
  EXPECT_FALSE(ParseImageProcessor(Json(3)).ok());
}

}  // namespace
}  // namespace tessera
