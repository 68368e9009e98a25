#include "engine/image/image.h"

#include <fmt/format.h>

#include "engine/base/status.h"
#include "engine/image/image_codecs.h"

namespace tessera {
namespace {

struct Format {
  std::string_view mime_type;
  absl::StatusOr<ImageHeader> (*read_header)(std::string_view, const ImageLimits&);
  absl::StatusOr<Image> (*decode)(std::string_view, const ImageLimits&, const Cancellation&);
};

absl::Status TooLarge(const std::string& message) {
  return RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kImageTooLarge, "", message);
}

absl::Status Undecodable(const std::string& message) {
  return RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kImageDecodeFailed, "",
                      message);
}

absl::StatusOr<Format> RecogniseFormat(std::string_view bytes) {
  using std::string_view_literals::operator""sv;
  if (bytes.starts_with("\xff\xd8\xff"sv)) return Format{"image/jpeg", ReadJpegHeader, DecodeJpeg};
  if (bytes.starts_with("\x89PNG\r\n\x1a\n"sv))
    return Format{"image/png", ReadPngHeader, DecodePng};
  if (bytes.starts_with("RIFF"sv) && bytes.substr(0, 12).ends_with("WEBP"sv)) {
    return Format{"image/webp", ReadWebpHeader, DecodeWebp};
  }
  return Undecodable("the bytes are no JPEG, PNG or WebP file; convert the image to one of them");
}

// The format of a file that may be decoded.
absl::StatusOr<Format> CheckedFormat(std::string_view bytes, std::string_view mime_type,
                                     const ImageLimits& limits) {
  if (bytes.empty()) return Undecodable("the image has no bytes");
  if (static_cast<int64_t>(bytes.size()) > limits.max_bytes) {
    return TooLarge(fmt::format("image file has {} bytes, limit {}; compress it or make it smaller",
                                bytes.size(), limits.max_bytes));
  }
  ASSIGN_OR_RETURN(const Format format, RecogniseFormat(bytes));
  if (!mime_type.empty() && mime_type != format.mime_type) {
    return Undecodable(fmt::format(
        "mime type is '{}', but the bytes are {}; set the one that fits, or leave it empty",
        mime_type, format.mime_type));
  }
  return format;
}

}  // namespace

absl::Status BrokenImage(std::string_view format, std::string_view reason) {
  return Undecodable(fmt::format(
      "{} file cannot be decoded: {}; check that it is whole, or save it again", format, reason));
}

absl::Status CheckImageSize(std::string_view format, int64_t width, int64_t height,
                            const ImageLimits& limits) {
  if (width <= 0 || height <= 0) {
    return BrokenImage(format, fmt::format("its header says {}x{} pixels", width, height));
  }
  if (width > limits.max_side || height > limits.max_side) {
    return TooLarge(fmt::format("{} image is {}x{}, limit {} a side; send a smaller one", format,
                                width, height, limits.max_side));
  }
  if (width * height > limits.max_pixels) {
    return TooLarge(fmt::format("{} image is {}x{} = {} pixels, limit {}; send a smaller one",
                                format, width, height, width * height, limits.max_pixels));
  }
  return absl::OkStatus();
}

absl::Status CheckImageWork(std::string_view what, const ImageHeader& header,
                            const ImageLimits& limits) {
  if (header.work <= limits.max_work) return absl::OkStatus();
  return TooLarge(fmt::format(
      "{}, {}x{} pixels: decoding takes about {:.1f} s, limit {:.1f} s; send a smaller one, or one "
      "of fewer scans",
      what, header.width, header.height, static_cast<double>(header.work) * 1e-9,
      static_cast<double>(limits.max_work) * 1e-9));
}

absl::Status DecodingCancelled() {
  return absl::CancelledError("nobody waits for the image any more");
}

Image AllocateImage(int width, int height) {
  return {width, height, std::vector<uint8_t>(size_t{3} * width * height)};
}

absl::StatusOr<Image> DecodeImage(std::string_view bytes, std::string_view mime_type,
                                  const ImageLimits& limits, const Cancellation& cancellation) {
  ASSIGN_OR_RETURN(const Format format, CheckedFormat(bytes, mime_type, limits));
  return format.decode(bytes, limits, cancellation);
}

absl::StatusOr<ImageHeader> ReadImageHeader(std::string_view bytes, std::string_view mime_type,
                                            const ImageLimits& limits) {
  ASSIGN_OR_RETURN(const Format format, CheckedFormat(bytes, mime_type, limits));
  return format.read_header(bytes, limits);
}

}  // namespace tessera
