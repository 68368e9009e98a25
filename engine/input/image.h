// Pictures as pixels: what a file holds after decoding, and what a file may hold at most.
//
// Decoding gives what Pillow 13's Image.open(f).convert("RGB") gives, byte for byte, because models
// were trained on that: alpha is dropped and not composited, palettes are expanded, 16-bit gray is
// clipped while other 16-bit pictures lose their low byte, CMYK is taken as Adobe's inverted kind,
// EXIF rotation (orientation.h) and colour profiles are ignored, an animation is its first frame.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera {

struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
};

struct ImageSize {
  int width = 0;
  int height = 0;
};

// Decoding takes 3 bytes a pixel, and up to 11 for a progressive JPEG (its coefficients are kept as
// int16).
struct ImageLimits {
  int64_t max_bytes = int64_t{20} << 20;   // of the file
  int64_t max_pixels = int64_t{64} << 20;  // width times height
  int max_side = 32768;                    // width and height each
};

// Decodes a JPEG, PNG or WebP file, told by its first bytes. `mime_type` may be empty; otherwise it
// must name the format found: image/jpeg, image/png or image/webp. Sizes are checked before pixels
// are allocated. Errors: INVALID_ARGUMENT with reason IMAGE_TOO_LARGE when over a limit,
// IMAGE_DECODE_FAILED when unknown, broken or truncated.
absl::StatusOr<Image> DecodeImage(std::string_view bytes, std::string_view mime_type,
                                  const ImageLimits& limits);
// The same from the header alone: a file that is broken behind it is not found out.
absl::StatusOr<ImageSize> ReadImageSize(std::string_view bytes, std::string_view mime_type,
                                        const ImageLimits& limits);

}  // namespace tessera
