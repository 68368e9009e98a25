// WebP through libwebp. Every file goes through the demultiplexer, which treats a still picture as
// an animation of one frame.
#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>

#include "engine/input/image_codecs.h"
#include "engine/status.h"

namespace tessera {
namespace {

struct DemuxerDeleter {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};

struct FrameDeleter {
  void operator()(WebPIterator* frame) const { WebPDemuxReleaseIterator(frame); }
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
absl::Status DecodeFrame(const WebPIterator& frame, Image& canvas) {
  if (frame.x_offset < 0 || frame.y_offset < 0 || frame.width <= 0 || frame.height <= 0 ||
      frame.width > canvas.width - frame.x_offset ||
      frame.height > canvas.height - frame.y_offset) {
    return BrokenImage("WebP", "its first frame lies outside the picture");
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
  status = WebPDecode(frame.fragment.bytes, frame.fragment.size, &config);
  if (status != VP8_STATUS_OK) return BrokenImage("WebP", DescribeStatus(status));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ImageSize> ReadWebpSize(std::string_view bytes, const ImageLimits& limits) {
  const WebPData data{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPDemuxer, DemuxerDeleter> demuxer(WebPDemux(&data));
  if (demuxer == nullptr) return BrokenImage("WebP", "it is truncated or its chunks are corrupt");
  const int64_t width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH);
  const int64_t height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT);
  RETURN_IF_ERROR(CheckImageSize("WebP", width, height, limits));
  return ImageSize{static_cast<int>(width), static_cast<int>(height)};
}

absl::StatusOr<Image> DecodeWebp(std::string_view bytes, const ImageLimits& limits) {
  ASSIGN_OR_RETURN(const ImageSize size, ReadWebpSize(bytes, limits));
  const WebPData data{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPDemuxer, DemuxerDeleter> demuxer(WebPDemux(&data));
  WebPIterator iterator{};
  const std::unique_ptr<WebPIterator, FrameDeleter> frame(&iterator);
  if (!WebPDemuxGetFrame(demuxer.get(), 1, frame.get())) {
    return BrokenImage("WebP", "it has no frame");
  }
  Image image = AllocateImage(size.width, size.height);
  RETURN_IF_ERROR(DecodeFrame(*frame, image));
  return image;
}

}  // namespace tessera
