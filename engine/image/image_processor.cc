#include "engine/image/image_processor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <string_view>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/image/resize.h"

namespace tessera {
namespace {

using Json = nlohmann::json;

constexpr int kMaxSize = 4096;
constexpr int kBicubic = 3;  // PIL.Image.BICUBIC
constexpr double kRescale = 1.0 / 255.0;

absl::Status Unsupported(const std::string& message) { return absl::InvalidArgumentError(message); }

struct ClassName {
  std::string_view name;
  ImageProcessorClass is;
};
// In transformers 4 and 5, by what computes, and CLIP's before 4.26.
constexpr ClassName kClasses[] = {
    {"CLIPImageProcessor", ImageProcessorClass::kClip},
    {"CLIPImageProcessorFast", ImageProcessorClass::kClip},
    {"CLIPImageProcessorPil", ImageProcessorClass::kClip},
    {"CLIPFeatureExtractor", ImageProcessorClass::kClip},
    {"LlavaImageProcessor", ImageProcessorClass::kClip},  // CLIP's, with padding if asked for
    {"LlavaImageProcessorFast", ImageProcessorClass::kClip},
    {"LlavaImageProcessorPil", ImageProcessorClass::kClip},
    {"SiglipImageProcessor", ImageProcessorClass::kSiglip},
    {"SiglipImageProcessorFast", ImageProcessorClass::kSiglip},
    {"SiglipImageProcessorPil", ImageProcessorClass::kSiglip},
};

// The key that names the class; null where the file does not say.
const char* ClassKey(const Json& config) {
  for (const char* key : {"image_processor_type", "feature_extractor_type"}) {
    if (config.contains(key)) return key;
  }
  return nullptr;
}

// A missing switch counts as on: both processors' default.
absl::Status RequireTrue(const Json& config, const char* key) {
  if (config.value(key, Json(true)) == Json(true)) return absl::OkStatus();
  return Unsupported(fmt::format("{} is {}, only true is supported", key, config[key].dump()));
}

absl::Status RequireNumber(const Json& config, const char* key, double expected) {
  const Json value = config.value(key, Json(expected));
  if (value.is_number() && std::abs(value.get<double>() - expected) <= 1e-9) {
    return absl::OkStatus();
  }
  return Unsupported(fmt::format("{} is {}, only {} is supported", key, value.dump(), expected));
}

// What a size asks for.
constexpr int kDefaultSide = 224;  // of both processors, in pixels

struct Square {
  int side = kDefaultSide;
  bool stretched = false;  // both sides become it, else the shortest
};

absl::StatusOr<int> ParseSide(const Json& value, const char* key, const Json& side) {
  if (!side.is_number_integer() || side < 1 || side > kMaxSize) {
    return Unsupported(
        fmt::format("{} is {}, expected a side of 1 to {} pixels", key, value.dump(), kMaxSize));
  }
  return side.get<int>();
}

// {"height": n, "width": n}
absl::StatusOr<int> ParseBothSides(const Json& value, const char* key) {
  if (value["height"] != value["width"]) {
    return Unsupported(fmt::format("{} is {}, only squares are supported", key, value.dump()));
  }
  return ParseSide(value, key, value["height"]);
}

// Whether an object's keys are these; such as hold null do not count.
bool HasJust(const Json& value, std::initializer_list<const char*> keys) {
  if (!value.is_object()) return false;
  const auto named = [](const Json& item) { return !item.is_null(); };
  const auto all = [&](const char* key) { return value.contains(key) && named(value[key]); };
  return static_cast<size_t>(std::count_if(value.begin(), value.end(), named)) == keys.size() &&
         std::all_of(keys.begin(), keys.end(), all);
}

// n and {"shortest_edge": n} mean the shortest side, which SigLIP's processor does not know.
absl::StatusOr<Square> ParseSize(const Json& config, ImageProcessorClass of) {
  if (!config.contains("size")) return Square{kDefaultSide, of == ImageProcessorClass::kSiglip};
  const Json& size = config["size"];
  if (HasJust(size, {"height", "width"})) {
    ASSIGN_OR_RETURN(const int side, ParseBothSides(size, "size"));
    return Square{side, true};
  }
  if (of == ImageProcessorClass::kSiglip) {
    return Unsupported(fmt::format("size is {}, expected height and width", size.dump()));
  }
  if (HasJust(size, {"shortest_edge"})) {
    ASSIGN_OR_RETURN(const int side, ParseSide(size, "size", size["shortest_edge"]));
    return Square{side, false};
  }
  if (size.is_object()) {
    return Unsupported(
        fmt::format("size is {}, expected shortest_edge alone, or height and width", size.dump()));
  }
  if (config.value("default_to_square", Json(false)) != Json(false)) {
    return Unsupported(fmt::format(
        "size is {} with default_to_square, of which versions of transformers make different "
        "things; write shortest_edge, or height and width",
        size.dump()));
  }
  ASSIGN_OR_RETURN(const int side, ParseSide(size, "size", size));
  return Square{side, false};
}

absl::StatusOr<int> ParseCrop(const Json& config) {
  if (!config.contains("crop_size")) return kDefaultSide;
  const Json& value = config["crop_size"];
  if (value.is_object() && !HasJust(value, {"height", "width"})) {
    return Unsupported(fmt::format("crop_size is {}, expected height and width", value.dump()));
  }
  return value.is_object() ? ParseBothSides(value, "crop_size")
                           : ParseSide(value, "crop_size", value);
}

// That what CLIP's processor cuts out is all that was resized, or the middle of a longer side.
absl::Status CheckCrop(const Json& config, const Square& size) {
  if (size.stretched && config.value("do_center_crop", Json(true)) == Json(false)) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(RequireTrue(config, "do_center_crop"));
  ASSIGN_OR_RETURN(const int crop, ParseCrop(config));
  if (crop == size.side) return absl::OkStatus();
  return Unsupported(
      fmt::format("crop_size {} differs from size {}, which is not supported", crop, size.side));
}

absl::StatusOr<std::array<double, 3>> ParseChannels(const Json& config, const char* key,
                                                    const std::array<double, 3>& otherwise) {
  if (!config.contains(key)) return otherwise;
  const Json& value = config[key];
  const auto is_number = [](const Json& channel) { return channel.is_number(); };
  if (!value.is_array() || value.size() != 3 ||
      !std::all_of(value.begin(), value.end(), is_number)) {
    return Unsupported(fmt::format("{} is {}, expected three numbers", key, value.dump()));
  }
  return std::array<double, 3>{value[0], value[1], value[2]};
}

absl::Status ParseColours(const Json& config, bool siglip, ImageProcessor& processor) {
  const std::array<double, 3> half{0.5, 0.5, 0.5};
  ASSIGN_OR_RETURN(const auto mean,
                   ParseChannels(config, "image_mean",
                                 siglip ? half : std::array{0.48145466, 0.4578275, 0.40821073}));
  ASSIGN_OR_RETURN(const auto std,
                   ParseChannels(config, "image_std",
                                 siglip ? half : std::array{0.26862954, 0.26130258, 0.27577711}));
  for (int c = 0; c < 3; ++c) {
    if (!(mean[c] >= 0.0 && mean[c] <= 1.0)) {
      return Unsupported(fmt::format("image_mean holds {}, expected 0 to 1", mean[c]));
    }
    if (!(std[c] >= 1e-6 && std[c] <= 1e6)) {
      return Unsupported(fmt::format("image_std holds {}, expected 1e-6 to 1e6", std[c]));
    }
    processor.mean[c] = static_cast<float>(mean[c]);
    processor.std[c] = static_cast<float>(std[c]);
    processor.pad_colour[c] = static_cast<uint8_t>(mean[c] * 255);
  }
  return absl::OkStatus();
}

// transformers guesses the layout of an array [height, width, 3] from its first axis, and takes
// images 1 or 3 pixels high for channels-first ones.
bool IsMisread(int height) { return height == 1 || height == 3; }

// What it then resizes: 3 wide and image.width high, a row of `image` being a channel. Of one row
// it makes a gray image, which its normalisation refuses; here the gray stands in all three
// channels.
Image Misread(const Image& image) {
  Image seen{3, image.width, std::vector<uint8_t>(size_t{9} * image.width)};
  uint8_t* sample = seen.rgb.data();
  for (int y = 0; y < seen.height; ++y) {
    for (int x = 0; x < 3; ++x) {
      for (int c = 0; c < 3; ++c) {
        const size_t row = image.height == 3 ? c : 0;
        *sample++ = image.rgb[(row * image.width + y) * 3 + x];
      }
    }
  }
  return seen;
}

Image CropToSquare(const Image& image, int size, const Cancellation& cancellation) {
  const int64_t shortest = std::min(image.width, image.height);
  const auto width = static_cast<int>(size * int64_t{image.width} / shortest);
  const auto height = static_cast<int>(size * int64_t{image.height} / shortest);
  return ResizeBicubic(image, Canvas{image.width, image.height}, width, height,
                       Window{(width - size) / 2, (height - size) / 2, size, size}, cancellation);
}

Image FitUnpadded(const Image& image, int size, bool crop, const Cancellation& cancellation) {
  const auto fit = [&](const Image& seen) {
    return crop ? CropToSquare(seen, size, cancellation)
                : ResizeBicubic(seen, size, size, cancellation);
  };
  return IsMisread(image.height) ? fit(Misread(image)) : fit(image);
}

}  // namespace

absl::StatusOr<ImageProcessorClass> ReadProcessorClass(const Json& settings,
                                                       ImageProcessorClass otherwise) {
  const char* const key = settings.is_object() ? ClassKey(settings) : nullptr;
  if (key == nullptr) return otherwise;
  const auto* found =
      std::find_if(std::begin(kClasses), std::end(kClasses), [&](const ClassName& known) {
        return settings[key].is_string() &&
               settings[key].get_ref<const std::string&>() == known.name;
      });
  if (found != std::end(kClasses)) return found->is;
  return Unsupported(
      fmt::format("{} is {}, only CLIPImageProcessor, SiglipImageProcessor and "
                  "LlavaImageProcessor are supported",
                  key, settings[key].dump()));
}

absl::StatusOr<ImageProcessor> ParseImageProcessor(const Json& config,
                                                   ImageProcessorClass otherwise) {
  if (!config.is_object()) return Unsupported("expected an object");
  ASSIGN_OR_RETURN(const ImageProcessorClass of, ReadProcessorClass(config, otherwise));
  const char* const key = ClassKey(config);
  const bool llava = key != nullptr && config[key].get<std::string>().starts_with("Llava");
  if (llava && config.value("do_pad", Json(false)) != Json(false)) {
    return Unsupported(
        fmt::format("do_pad is {}, only false is supported", config["do_pad"].dump()));
  }
  for (const char* step : {"do_resize", "do_rescale", "do_normalize"}) {
    RETURN_IF_ERROR(RequireTrue(config, step));
  }
  RETURN_IF_ERROR(RequireNumber(config, "resample", kBicubic));
  RETURN_IF_ERROR(RequireNumber(config, "rescale_factor", kRescale));
  ASSIGN_OR_RETURN(const Square size, ParseSize(config, of));
  if (of == ImageProcessorClass::kClip) RETURN_IF_ERROR(CheckCrop(config, size));
  ImageProcessor processor;
  processor.size = size.side;
  processor.unpadded = size.stretched ? ImageMode::kStretch : ImageMode::kCrop;
  RETURN_IF_ERROR(ParseColours(config, of == ImageProcessorClass::kSiglip, processor));
  return processor;
}

Image FitImage(const Image& image, const ImageProcessor& processor, ImageMode mode,
               const Cancellation& cancellation) {
  const int size = processor.size;
  if (mode != ImageMode::kPad) {
    return FitUnpadded(image, size, mode == ImageMode::kCrop, cancellation);
  }
  const int side = std::max(image.width, image.height);
  const Canvas square{side, side, (side - image.width) / 2, (side - image.height) / 2,
                      processor.pad_colour};
  if (!IsMisread(side)) {
    return ResizeBicubic(image, square, size, size, Window{0, 0, size, size}, cancellation);
  }
  const Image painted = ResizeBicubic(image, square, side, side, Window{0, 0, side, side});
  return FitUnpadded(painted, size, processor.unpadded == ImageMode::kCrop, cancellation);
}

std::vector<float> NormalizeImage(const Image& fitted, const ImageProcessor& processor) {
  const size_t pixels = static_cast<size_t>(fitted.width) * fitted.height;
  std::vector<float> planes(3 * pixels);
  for (int c = 0; c < 3; ++c) {
    std::array<float, 256> normalized;
    for (int value = 0; value < 256; ++value) {
      const auto rescaled = static_cast<float>(value * kRescale);
      normalized[value] = (rescaled - processor.mean[c]) / processor.std[c];
    }
    float* plane = planes.data() + c * pixels;
    for (size_t i = 0; i < pixels; ++i) plane[i] = normalized[fitted.rgb[3 * i + c]];
  }
  return planes;
}

}  // namespace tessera
