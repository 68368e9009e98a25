#include <fmt/format.h>

#include <fstream>
#include <sstream>

#include "engine/base/json_file.h"
#include "engine/base/sha256.h"
#include "engine/base/status.h"
#include "engine/image/image.h"
#include "engine/image/image_processor.h"
#include "tests/golden_runner/checks.h"

namespace tessera::golden {
namespace {

ImageProcessor Siglip(int size) {
  ImageProcessor processor;
  processor.size = size;
  processor.mean = processor.std = {0.5f, 0.5f, 0.5f};
  processor.pad_colour = {127, 127, 127};
  processor.unpadded = ImageMode::kStretch;
  return processor;
}

ImageProcessor Clip(int size) {
  ImageProcessor processor;
  processor.size = size;
  return processor;
}

struct Fitting {
  const char* key;
  ImageProcessor processor;
  ImageMode mode;
};

std::vector<Fitting> Fittings() {
  return {
      {"clip56_pad_sha256", Clip(56), ImageMode::kPad},
      {"clip56_crop_sha256", Clip(56), ImageMode::kCrop},
      {"clip336_pad_sha256", Clip(336), ImageMode::kPad},
      {"clip336_crop_sha256", Clip(336), ImageMode::kCrop},
      {"siglip58_pad_sha256", Siglip(58), ImageMode::kPad},
      {"siglip58_direct_sha256", Siglip(58), ImageMode::kStretch},
      {"siglip384_pad_sha256", Siglip(384), ImageMode::kPad},
      {"siglip384_direct_sha256", Siglip(384), ImageMode::kStretch},
  };
}

std::string Hex(const std::vector<uint8_t>& bytes) {
  std::string hex;
  for (const uint8_t byte : Sha256({reinterpret_cast<const char*>(bytes.data()), bytes.size()})) {
    hex += fmt::format("{:02x}", byte);
  }
  return hex;
}

// Where the array that the reference's processor fits has a single row, it is taken for an image
// with one channel, and the expected hash covers one value per pixel; ours hold it three times.
bool HasOneRow(const Image& decoded, ImageMode mode) {
  return decoded.height == 1 && (mode != ImageMode::kPad || decoded.width == 1);
}

std::vector<uint8_t> FirstChannel(const std::vector<uint8_t>& rgb) {
  std::vector<uint8_t> channel;
  for (size_t i = 0; i < rgb.size(); i += 3) channel.push_back(rgb[i]);
  return channel;
}

void CheckImage(const std::filesystem::path& directory, const nlohmann::json& entry,
                Report& report) {
  const std::string name = entry.at("file").get<std::string>();
  std::ifstream file(directory / name, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  const auto image = DecodeImage(bytes.str(), "", {});
  if (!image.ok()) {
    report.Fail(name + " decode", std::string(StatusMessage(image.status())));
    return;
  }
  report.Add(image->width == entry.at("width") && image->height == entry.at("height") &&
                 Hex(image->rgb) == entry.at("rgb_sha256"),
             name + " decode");
  for (const Fitting& fitting : Fittings()) {
    if (!entry.contains(fitting.key)) continue;
    const Image fitted = FitImage(*image, fitting.processor, fitting.mode);
    const std::string hash =
        HasOneRow(*image, fitting.mode) ? Hex(FirstChannel(fitted.rgb)) : Hex(fitted.rgb);
    report.Add(hash == entry.at(fitting.key), fmt::format("{} {}", name, fitting.key));
  }
}

}  // namespace

void CheckImages(const std::filesystem::path& directory, Report& report) {
  const auto expected = ReadJsonFile(directory / "expected.json");
  if (!expected.ok()) {
    report.Fail(directory.string(), std::string(StatusMessage(expected.status())));
    return;
  }
  for (const auto& entry : expected->at("images")) CheckImage(directory, entry, report);
}

}  // namespace tessera::golden
