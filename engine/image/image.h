// Images as pixels: what a file holds after decoding, and what a file may hold at most.
//
// Decoding gives what Pillow 13's Image.open(f).convert("RGB") gives, byte for byte, because models
// were trained on that: alpha is dropped and not composited, palettes are expanded, 16-bit gray is
// clipped while other 16-bit images lose their low byte, CMYK is taken as Adobe's inverted kind,
// EXIF rotation (orientation.h) and colour profiles are ignored, an animation is its first frame.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/cancellation.h"

namespace tessera {

struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
};

// What a file says of its image before anything is decoded.
struct ImageHeader {
  int width = 0;
  int height = 0;
  // What decoding and resizing will take at most, estimated from pixels, passes over them and
  // bytes: nanoseconds of one core of the machine on which the factors were measured.
  int64_t work = 0;
  // Memory while it is decoded, its pixels included. A progressive JPEG keeps all coefficients, a
  // lossless WebP four bytes a pixel.
  int64_t decoding_bytes = 0;

  int64_t pixels() const { return int64_t{width} * height; }
};

struct ImageLimits {
  int64_t max_bytes = int64_t{20} << 20;   // of the file
  int64_t max_pixels = int64_t{64} << 20;  // width times height
  int max_side = 32768;                    // width and height each
  // Of ImageHeader::work. A JPEG may repeat its scans, so pixels bound little.
  int64_t max_work = 3'000'000'000;
};

// Decodes a JPEG, PNG or WebP file, told by its first bytes. `mime_type` may be empty; otherwise it
// must name the format found: image/jpeg, image/png or image/webp. Sizes and work are checked
// before pixels are allocated. Errors: INVALID_ARGUMENT with reason IMAGE_TOO_LARGE when over a
// limit, IMAGE_DECODE_FAILED when unknown, broken or truncated; CANCELLED. `cancellation` is asked
// between rows; of a WebP, between pieces of the file.
absl::StatusOr<Image> DecodeImage(std::string_view bytes, std::string_view mime_type,
                                  const ImageLimits& limits,
                                  const Cancellation& cancellation = kNeverCancelled);
// The same from the header alone: a file that is broken behind it is not found out. Of a JPEG all
// bytes are looked through for its scans.
absl::StatusOr<ImageHeader> ReadImageHeader(std::string_view bytes, std::string_view mime_type,
                                            const ImageLimits& limits);

// CANCELLED: nobody waits for the image any more.
absl::Status DecodingCancelled();

}  // namespace tessera
