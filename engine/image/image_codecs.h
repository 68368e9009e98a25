// The decoders behind DecodeImage and ReadImageHeader, one per file format (jpeg.cc, png.cc,
// webp.cc), and what they share.
//
// libjpeg and libpng report errors by longjmp. Each decoder therefore has a reader class whose
// member functions call setjmp and hold nothing with a destructor while the C library runs; buffers
// belong to the caller.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/image/image.h"

namespace tessera {

absl::StatusOr<ImageHeader> ReadJpegHeader(std::string_view bytes, const ImageLimits& limits);
absl::StatusOr<ImageHeader> ReadPngHeader(std::string_view bytes, const ImageLimits& limits);
absl::StatusOr<ImageHeader> ReadWebpHeader(std::string_view bytes, const ImageLimits& limits);
absl::StatusOr<Image> DecodeJpeg(std::string_view bytes, const ImageLimits& limits,
                                 const Cancellation& cancellation);
absl::StatusOr<Image> DecodePng(std::string_view bytes, const ImageLimits& limits,
                                const Cancellation& cancellation);
absl::StatusOr<Image> DecodeWebp(std::string_view bytes, const ImageLimits& limits,
                                 const Cancellation& cancellation);

// INVALID_ARGUMENT, IMAGE_DECODE_FAILED: "<format> file cannot be decoded: <reason>; …".
absl::Status BrokenImage(std::string_view format, std::string_view reason);

// INVALID_ARGUMENT, IMAGE_TOO_LARGE if a header's width and height exceed a limit;
// IMAGE_DECODE_FAILED if one is zero.
absl::Status CheckImageSize(std::string_view format, int64_t width, int64_t height,
                            const ImageLimits& limits);

// INVALID_ARGUMENT, IMAGE_TOO_LARGE if the header's work exceeds its limit. `what`: the image, as
// "JPEG image of 64 scans".
absl::Status CheckImageWork(std::string_view what, const ImageHeader& header,
                            const ImageLimits& limits);

// Of every pixel of any format: resizing it, at most.
constexpr double kResizeWork = 8;  // measured: 5.3 to 8.3

// Black image of a checked size.
Image AllocateImage(int width, int height);

}  // namespace tessera
