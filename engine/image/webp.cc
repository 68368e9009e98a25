// WebP through libwebp. Every file goes through the demultiplexer, which treats a still image as
// an animation of one frame. The incremental decoder gets the file piece by piece, so that one with
// many bytes can be stopped between them; one with few is a single call, bounded by its pixels.
#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <memory>

#include "engine/base/status.h"
#include "engine/image/image_codecs.h"

namespace tessera {
namespace {

constexpr size_t kPieceBytes = 64 << 10;  // some milliseconds

// Measured with blank images, which are all pixels, and with noise, which is all bytes.
constexpr double kPixelWork = 5;
constexpr double kAlphaWork = 5;  // of a pixel of a lossy image, beside
constexpr double kLossyByteWork = 75;
constexpr double kLosslessByteWork = 8;

// Held beside the pixels: a lossless image, or the alpha of a lossy one, is decoded whole.
constexpr int64_t kLosslessBytes = 4;
constexpr int64_t kAlphaBytes = 5;

struct DemuxerDeleter {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};

struct FrameDeleter {
  void operator()(WebPIterator* frame) const { WebPDemuxReleaseIterator(frame); }
};

struct DecoderDeleter {
  void operator()(WebPIDecoder* decoder) const { WebPIDelete(decoder); }
};

std::string_view DescribeStatus(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY:
      return "out of memory";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "it uses an unsupported feature";
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "the file is truncated";
    default:
      return "its data is corrupt";
  }
}

// Decodes `frame` to its place in `canvas`; what it does not cover stays black, as a transparent
// canvas without its alpha.
absl::Status DecodeFrame(const WebPIterator& frame, Image& canvas,
                         const Cancellation& cancellation) {
  if (frame.x_offset < 0 || frame.y_offset < 0 || frame.width <= 0 || frame.height <= 0 ||
      frame.width > canvas.width - frame.x_offset ||
      frame.height > canvas.height - frame.y_offset) {
    return BrokenImage("WebP", "its first frame lies outside the image");
  }
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) return BrokenImage("WebP", "libwebp has another version");
  VP8StatusCode status = WebPGetFeatures(frame.fragment.bytes, frame.fragment.size, &config.input);
  if (status != VP8_STATUS_OK) return BrokenImage("WebP", DescribeStatus(status));
  if (config.input.width != frame.width || config.input.height != frame.height) {
    return BrokenImage("WebP", "its first frame has another size than announced");
  }
  const size_t stride = size_t{3} * canvas.width;
  const size_t start = frame.y_offset * stride + size_t{3} * frame.x_offset;
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = canvas.rgb.data() + start;
  config.output.u.RGBA.stride = static_cast<int>(stride);
  config.output.u.RGBA.size = canvas.rgb.size() - start;
  const std::unique_ptr<WebPIDecoder, DecoderDeleter> decoder(WebPIDecode(nullptr, 0, &config));
  if (decoder == nullptr) return BrokenImage("WebP", DescribeStatus(VP8_STATUS_OUT_OF_MEMORY));
  status = VP8_STATUS_SUSPENDED;
  for (size_t given = 0; status == VP8_STATUS_SUSPENDED && given < frame.fragment.size;) {
    if (cancellation.Requested()) return DecodingCancelled();
    given = std::min(given + kPieceBytes, frame.fragment.size);
    status = WebPIUpdate(decoder.get(), frame.fragment.bytes, given);
  }
  if (status != VP8_STATUS_OK) return BrokenImage("WebP", DescribeStatus(status));
  return absl::OkStatus();
}

// Of its first frame; nothing where that says nothing, since then it cannot be decoded either.
WebPBitstreamFeatures FeaturesOf(const WebPDemuxer* demuxer) {
  WebPBitstreamFeatures features{};
  WebPIterator iterator{};
  const std::unique_ptr<WebPIterator, FrameDeleter> frame(&iterator);
  if (WebPDemuxGetFrame(demuxer, 1, frame.get()) &&
      WebPGetFeatures(frame->fragment.bytes, frame->fragment.size, &features) != VP8_STATUS_OK) {
    features = {};
  }
  return features;
}

}  // namespace

absl::StatusOr<ImageHeader> ReadWebpHeader(std::string_view bytes, const ImageLimits& limits) {
  const WebPData data{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPDemuxer, DemuxerDeleter> demuxer(WebPDemux(&data));
  if (demuxer == nullptr) return BrokenImage("WebP", "it is truncated or its chunks are corrupt");
  const int64_t width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH);
  const int64_t height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT);
  RETURN_IF_ERROR(CheckImageSize("WebP", width, height, limits));
  ImageHeader header{.width = static_cast<int>(width), .height = static_cast<int>(height)};
  const WebPBitstreamFeatures features = FeaturesOf(demuxer.get());
  const bool lossless = features.format == 2;
  const bool alpha = !lossless && features.has_alpha != 0;
  header.work =
      static_cast<int64_t>((kPixelWork + kResizeWork + (alpha ? kAlphaWork : 0)) * header.pixels() +
                           (lossless ? kLosslessByteWork : kLossyByteWork) * bytes.size());
  header.decoding_bytes =
      (3 + (lossless ? kLosslessBytes : 0) + (alpha ? kAlphaBytes : 0)) * header.pixels();
  RETURN_IF_ERROR(CheckImageWork("WebP image", header, limits));
  return header;
}

absl::StatusOr<Image> DecodeWebp(std::string_view bytes, const ImageLimits& limits,
                                 const Cancellation& cancellation) {
  ASSIGN_OR_RETURN(const ImageHeader header, ReadWebpHeader(bytes, limits));
  const WebPData data{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPDemuxer, DemuxerDeleter> demuxer(WebPDemux(&data));
  WebPIterator iterator{};
  const std::unique_ptr<WebPIterator, FrameDeleter> frame(&iterator);
  if (!WebPDemuxGetFrame(demuxer.get(), 1, frame.get())) {
    return BrokenImage("WebP", "it has no frame");
  }
  Image image = AllocateImage(header.width, header.height);
  RETURN_IF_ERROR(DecodeFrame(*frame, image, cancellation));
  return image;
}

}  // namespace tessera
