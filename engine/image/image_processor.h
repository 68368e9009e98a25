// From an image to what the vision encoder takes: square, resized, normalised. All of it is data
// read from a checkpoint (ReadProcessorConfig), and equals transformers' CLIPImageProcessor
// and SiglipImageProcessor bit for bit up to the uint8 image.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/cancellation.h"
#include "engine/image/image.h"

namespace tessera {

// How an image becomes square.
enum class ImageMode {
  kPad,      // laid in the middle of a square of the mean colour, then resized: nothing is lost
  kCrop,     // shortest side resized, then the middle taken
  kStretch,  // both sides resized: nothing is lost, but shapes change
};

struct ImageProcessor {
  int size = 336;  // side of the square, in pixels
  std::array<float, 3> mean{0.48145466f, 0.4578275f, 0.40821073f};
  std::array<float, 3> std{0.26862954f, 0.26130258f, 0.27577711f};
  std::array<uint8_t, 3> pad_colour{122, 116, 104};  // int(mean * 255), in double
  ImageMode unpadded = ImageMode::kCrop;             // kStretch where a size names both sides

  bool operator==(const ImageProcessor&) const = default;
};

// Whose settings a file holds.
enum class ImageProcessorClass { kClip, kSiglip };

// The class that the settings name, `otherwise` where they name none. INVALID_ARGUMENT, naming the
// key, for others.
absl::StatusOr<ImageProcessorClass> ReadProcessorClass(const nlohmann::json& settings,
                                                       ImageProcessorClass otherwise);

// Reads a processor's settings (ReadProcessorConfig); what they leave out is as in their class.
// INVALID_ARGUMENT, naming the key, for another processor's, for steps that the two do not have,
// and for what versions of transformers understand differently.
absl::StatusOr<ImageProcessor> ParseImageProcessor(
    const nlohmann::json& settings, ImageProcessorClass otherwise = ImageProcessorClass::kClip);

// uint8 [size, size, 3]. A thin strip costs no more than its pixels: neither its square nor its
// cut-off ends are stored. `cancellation`: as in ResizeBicubic().
Image FitImage(const Image& image, const ImageProcessor& processor, ImageMode mode,
               const Cancellation& cancellation = kNeverCancelled);

// [3, size, size]: (value / 255 - mean) / std, in float32 with the quotient rounded from double.
std::vector<float> NormalizeImage(const Image& fitted, const ImageProcessor& processor);

}  // namespace tessera
