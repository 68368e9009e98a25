#include "engine/image/native_size.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

using Json = nlohmann::json;

// Its names in transformers 4 and 5, by what computes.
constexpr const char* kNames[] = {"Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast",
                                  "Qwen2VLImageProcessorPil"};
// What the class has where a file is silent.
constexpr NativeSize kClassDefaults = {
    .patch_size = 14, .merge = 2, .frames = 2, .min_pixels = 56 * 56, .max_pixels = 28 * 28 * 1280};
constexpr int kMaxAspect = 200;
constexpr int64_t kMaxPixels = int64_t{1} << 28;

absl::Status Unsupported(const std::string& message) { return absl::InvalidArgumentError(message); }

absl::Status ReadInteger(const Json& config, const char* key, int64_t least, int64_t most,
                         int64_t& value) {
  if (!config.contains(key) || config[key].is_null()) return absl::OkStatus();
  const Json& given = config[key];
  if (!given.is_number_integer() || given < least || given > most) {
    return Unsupported(
        fmt::format("{} is {}, expected an integer of {} to {}", key, given.dump(), least, most));
  }
  value = given.get<int64_t>();
  return absl::OkStatus();
}

absl::Status ReadSize(const Json& config, const char* key, int64_t most, int& value) {
  int64_t wide = value;
  RETURN_IF_ERROR(ReadInteger(config, key, 1, most, wide));
  value = static_cast<int>(wide);
  return absl::OkStatus();
}

// The two and nothing else; keys that hold null do not count.
bool HasBothEdges(const Json& size) {
  if (!size.is_object()) return false;
  for (const char* key : {"shortest_edge", "longest_edge"}) {
    if (!size.contains(key) || size[key].is_null()) return false;
  }
  return std::count_if(size.begin(), size.end(), [](const Json& v) { return !v.is_null(); }) == 2;
}

// The multiple of `unit` next to `value`, of two equally near ones the even multiple.
int64_t RoundTo(double value, int64_t unit) {
  return static_cast<int64_t>(std::nearbyint(value / static_cast<double>(unit))) * unit;
}

}  // namespace

// An image's sides are h ≤ 200 w. Rounding leaves at least two thirds of w (a window and a half
// becomes one), so of an image that is neither shrunk nor grown max_pixels ≥ h · w · 2/3 ≥ h² /
// 300; the others are in proportion. A window more for rounding up.
int64_t NativeSize::longest_side() const {
  return static_cast<int64_t>(std::sqrt(1.5 * kMaxAspect * static_cast<double>(max_pixels))) +
         side();
}

absl::StatusOr<NativeProcessor> ParseNativeProcessor(const Json& config) {
  if (!config.is_object()) return Unsupported("expected an object");
  const Json type = config.value("image_processor_type", Json(kNames[0]));
  if (std::find(std::begin(kNames), std::end(kNames), type) == std::end(kNames)) {
    return Unsupported(fmt::format("image_processor_type is {}, only {} are supported", type.dump(),
                                   fmt::join(kNames, ", ")));
  }
  NativeProcessor processor;
  Json colours = config;  // the steps and defaults that it shares with CLIP's
  colours.erase("image_processor_type");
  for (const char* key : {"size", "do_center_crop", "crop_size"}) colours.erase(key);
  ASSIGN_OR_RETURN(processor.colours, ParseImageProcessor(colours));

  NativeSize& size = processor.size;
  size = kClassDefaults;
  RETURN_IF_ERROR(ReadSize(config, "patch_size", 256, size.patch_size));
  RETURN_IF_ERROR(ReadSize(config, "merge_size", 16, size.merge));
  RETURN_IF_ERROR(ReadSize(config, "temporal_patch_size", 16, size.frames));
  if (config.contains("size")) {  // areas, whatever their names say
    if (!HasBothEdges(config["size"])) {
      return Unsupported(fmt::format("size is {}, expected shortest_edge and longest_edge",
                                     config["size"].dump()));
    }
    RETURN_IF_ERROR(ReadInteger(config["size"], "shortest_edge", 1, kMaxPixels, size.min_pixels));
    RETURN_IF_ERROR(ReadInteger(config["size"], "longest_edge", 1, kMaxPixels, size.max_pixels));
  }
  RETURN_IF_ERROR(ReadInteger(config, "min_pixels", 1, kMaxPixels, size.min_pixels));
  RETURN_IF_ERROR(ReadInteger(config, "max_pixels", 1, kMaxPixels, size.max_pixels));
  if (size.max_pixels < size.min_pixels || size.max_pixels < size.window_pixels()) {
    return Unsupported(fmt::format("at most {} pixels, but at least {}, and {} for one token",
                                   size.max_pixels, size.min_pixels, size.window_pixels()));
  }
  return processor;
}

absl::StatusOr<PatchGrid> FitGrid(int width, int height, const NativeSize& size) {
  const int64_t unit = size.side();
  const double w = width;
  const double h = height;
  if (std::max(w, h) / std::min(w, h) > kMaxAspect) {
    return RequestError(
        absl::StatusCode::kInvalidArgument, ErrorReason::kInvalidParameter, "",
        fmt::format("image is {}x{}, more than {} times as long as wide; cut or pad it", width,
                    height, kMaxAspect));
  }
  int64_t rows = RoundTo(h, unit);
  int64_t cols = RoundTo(w, unit);
  if (rows * cols > size.max_pixels) {
    const double shrink = std::sqrt(h * w / static_cast<double>(size.max_pixels));
    const auto fit = [&](double side) {
      return std::max(
          unit, static_cast<int64_t>(std::floor(side / shrink / static_cast<double>(unit))) * unit);
    };
    rows = fit(h);
    cols = fit(w);
  } else if (rows * cols < size.min_pixels) {
    const double grow = std::sqrt(static_cast<double>(size.min_pixels) / (h * w));
    const auto fit = [&](double side) {
      return static_cast<int64_t>(std::ceil(side * grow / static_cast<double>(unit))) * unit;
    };
    rows = fit(h);
    cols = fit(w);
  }
  return PatchGrid{static_cast<int>(rows / size.patch_size),
                   static_cast<int>(cols / size.patch_size)};
}

std::vector<std::pair<int, int>> WindowOrder(const PatchGrid& grid, int merge) {
  TESSERA_CHECK(grid.rows % merge == 0 && grid.cols % merge == 0);
  std::vector<std::pair<int, int>> order;
  order.reserve(static_cast<size_t>(grid.patches()));
  for (int row = 0; row < grid.rows; row += merge) {
    for (int col = 0; col < grid.cols; col += merge) {
      for (int i = 0; i < merge * merge; ++i) order.emplace_back(row + i / merge, col + i % merge);
    }
  }
  return order;
}

std::vector<float> CutWindows(std::span<const float> pixels, const PatchGrid& grid,
                              const NativeSize& size) {
  const size_t patch = static_cast<size_t>(size.patch_size);
  const size_t width = static_cast<size_t>(grid.cols) * patch;
  const size_t plane = static_cast<size_t>(grid.rows) * patch * width;
  TESSERA_CHECK(pixels.size() == 3 * plane);
  std::vector<float> patches;
  patches.reserve(pixels.size() * static_cast<size_t>(size.frames));
  for (const auto& [row, col] : WindowOrder(grid, size.merge)) {
    const size_t corner =
        static_cast<size_t>(row) * patch * width + static_cast<size_t>(col) * patch;
    for (size_t colour = 0; colour < 3; ++colour) {
      for (int frame = 0; frame < size.frames; ++frame) {
        for (size_t y = 0; y < patch; ++y) {
          const auto line =
              pixels.begin() + static_cast<int64_t>(colour * plane + corner + y * width);
          patches.insert(patches.end(), line, line + size.patch_size);
        }
      }
    }
  }
  return patches;
}

}  // namespace tessera
