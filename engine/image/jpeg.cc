// JPEG through libjpeg-turbo with its defaults (accurate integer DCT, smooth chroma upsampling),
// which are Pillow's.
#include <fmt/format.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

// After <cstdio>: the header needs size_t and FILE.
#include <jpeglib.h>

#include "engine/base/status.h"
#include "engine/image/image_codecs.h"
#include "engine/image/jpeg_scans.h"

namespace tessera {
namespace {

// A file may repeat scans without end, each a pass over all coefficients; encoders write about ten.
constexpr int kMaxScans = 64;

// Measured with blank images, which are all passes, and with noise, which is all bytes.
constexpr double kPixelWork = 2;
constexpr double kSampleWork = 0.8;  // each time that a scan visits it
constexpr double kArithmeticSampleWork = 1.2;
constexpr double kSequentialByteWork = 20;
constexpr double kProgressiveByteWork = 45;
constexpr double kArithmeticByteWork = 200;

uint8_t MultiplyDiv255(int a, int b) {
  const int t = a * b + 128;
  return static_cast<uint8_t>((t + (t >> 8)) >> 8);
}

// `cmyk` as Adobe writes it, 255 meaning no ink. Pillow's conversion: R = (255 - K) - C(255 -
// K)/255, rounded.
void ConvertInvertedCmyk(const uint8_t* cmyk, int width, uint8_t* rgb) {
  for (int x = 0; x < width; ++x, cmyk += 4, rgb += 3) {
    const int light = cmyk[3];
    for (int c = 0; c < 3; ++c) {
      rgb[c] = static_cast<uint8_t>(light - MultiplyDiv255(255 - cmyk[c], light));
    }
  }
}

// Where libjpeg's errors end: the message, and the way back into the reader. `manager` is first, so
// that a pointer to it is a pointer to the whole.
struct ErrorTrap {
  jpeg_error_mgr manager;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void Fail(j_common_ptr info, const char* message) {
  auto* trap = reinterpret_cast<ErrorTrap*>(info->err);
  std::snprintf(trap->message, sizeof(trap->message), "%s", message);
  std::longjmp(trap->jump, 1);
}

[[noreturn]] void OnError(j_common_ptr info) {
  char message[JMSG_LENGTH_MAX];
  info->err->format_message(info, message);
  Fail(info, message);
}

// Warnings are for the eye: like Pillow, an image that decodes to its last row is good.
void OnMessage(j_common_ptr, int) {}
void OnOutput(j_common_ptr) {}

// Called between rows of blocks of every scan, and between rows of pixels. `client_data` is the
// Cancellation.
void OnProgress(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > kMaxScans) {
    Fail(info, "it has more than 64 scans");
  }
  if (static_cast<const Cancellation*>(info->client_data)->Requested()) Fail(info, "cancelled");
}

void InitSource(j_decompress_ptr) {}
void TermSource(j_decompress_ptr) {}

boolean FillInputBuffer(j_decompress_ptr info) {
  Fail(reinterpret_cast<j_common_ptr>(info), "the file is truncated");
}

void SkipInputData(j_decompress_ptr info, long bytes) {
  if (bytes <= 0) return;
  if (static_cast<size_t>(bytes) > info->src->bytes_in_buffer) FillInputBuffer(info);
  info->src->next_input_byte += bytes;
  info->src->bytes_in_buffer -= static_cast<size_t>(bytes);
}

class JpegReader {
 public:
  JpegReader(std::string_view bytes, const Cancellation& cancellation)
      : cancellation_(cancellation) {
    info_.err = jpeg_std_error(&trap_.manager);
    trap_.manager.error_exit = OnError;
    trap_.manager.emit_message = OnMessage;
    trap_.manager.output_message = OnOutput;
    source_.next_input_byte = reinterpret_cast<const JOCTET*>(bytes.data());
    source_.bytes_in_buffer = bytes.size();
    source_.init_source = InitSource;
    source_.fill_input_buffer = FillInputBuffer;
    source_.skip_input_data = SkipInputData;
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.term_source = TermSource;
    progress_.progress_monitor = OnProgress;
  }
  ~JpegReader() { jpeg_destroy_decompress(&info_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  absl::Status ReadHeader() {
    if (setjmp(trap_.jump) != 0) return BrokenImage("JPEG", trap_.message);
    jpeg_create_decompress(&info_);
    info_.client_data = const_cast<Cancellation*>(&cancellation_);
    info_.src = &source_;
    info_.progress = &progress_;
    jpeg_read_header(&info_, TRUE);
    return absl::OkStatus();
  }

  // `rgb`: [height, width, 3]. `row`: 4 bytes a pixel, used when has_black().
  absl::Status ReadPixels(uint8_t* rgb, uint8_t* row) {
    if (setjmp(trap_.jump) != 0) {
      return cancellation_.Requested() ? DecodingCancelled() : BrokenImage("JPEG", trap_.message);
    }
    info_.out_color_space = has_black() ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&info_);
    while (info_.output_scanline < info_.output_height) {
      uint8_t* target = rgb + size_t{3} * info_.output_width * info_.output_scanline;
      JSAMPROW line = has_black() ? row : target;
      jpeg_read_scanlines(&info_, &line, 1);
      if (has_black()) ConvertInvertedCmyk(row, width(), target);
    }
    return absl::OkStatus();
  }

  int width() const { return static_cast<int>(info_.image_width); }
  int height() const { return static_cast<int>(info_.image_height); }
  int components() const { return info_.num_components; }
  bool keeps_coefficients() { return jpeg_has_multiple_scans(&info_) != 0; }
  // Of a component, in whole blocks.
  int64_t Samples(int component) const {
    const jpeg_component_info& info = info_.comp_info[component];
    return int64_t{DCTSIZE2} * info.width_in_blocks * info.height_in_blocks;
  }
  // Of those that `scan` visits. Unknown components, which end decoding, count for nothing.
  int64_t Samples(const JpegScan& scan) const {
    int64_t samples = 0;
    for (int i = 0; i < scan.components; ++i) {
      for (int c = 0; c < components(); ++c) {
        const bool visited = info_.comp_info[c].component_id == scan.ids[static_cast<size_t>(i)];
        if (visited) samples += Samples(c);
      }
    }
    return samples;
  }
  double sample_work() const { return info_.arith_code ? kArithmeticSampleWork : kSampleWork; }
  double byte_work() const {
    if (info_.arith_code) return kArithmeticByteWork;
    return info_.progressive_mode ? kProgressiveByteWork : kSequentialByteWork;
  }
  bool has_black() const { return components() == 4; }

 private:
  const Cancellation& cancellation_;
  jpeg_decompress_struct info_{};
  ErrorTrap trap_{};
  jpeg_source_mgr source_{};
  jpeg_progress_mgr progress_{};
};

// Size, work and memory of a file whose header is read.
absl::StatusOr<ImageHeader> HeaderOf(JpegReader& reader, std::string_view bytes,
                                     const ImageLimits& limits) {
  RETURN_IF_ERROR(CheckImageSize("JPEG", reader.width(), reader.height(), limits));
  const std::vector<JpegScan> scans = FindJpegScans(bytes, kMaxScans + 1);
  if (scans.size() > kMaxScans) return BrokenImage("JPEG", "it has more than 64 scans");
  ImageHeader header{.width = reader.width(), .height = reader.height()};
  int64_t visited = 0;
  for (const JpegScan& scan : scans) visited += reader.Samples(scan);
  header.work =
      static_cast<int64_t>((kPixelWork + kResizeWork) * header.pixels() +
                           reader.sample_work() * visited + reader.byte_work() * bytes.size());
  header.decoding_bytes = 3 * header.pixels();
  for (int c = 0; reader.keeps_coefficients() && c < reader.components(); ++c) {
    header.decoding_bytes += static_cast<int64_t>(sizeof(JCOEF)) * reader.Samples(c);
  }
  RETURN_IF_ERROR(CheckImageWork(
      scans.size() == 1 ? "JPEG image" : fmt::format("JPEG image of {} scans", scans.size()),
      header, limits));
  return header;
}

}  // namespace

absl::StatusOr<ImageHeader> ReadJpegHeader(std::string_view bytes, const ImageLimits& limits) {
  JpegReader reader(bytes, kNeverCancelled);
  RETURN_IF_ERROR(reader.ReadHeader());
  return HeaderOf(reader, bytes, limits);
}

absl::StatusOr<Image> DecodeJpeg(std::string_view bytes, const ImageLimits& limits,
                                 const Cancellation& cancellation) {
  JpegReader reader(bytes, cancellation);
  RETURN_IF_ERROR(reader.ReadHeader());
  RETURN_IF_ERROR(HeaderOf(reader, bytes, limits).status());
  if (reader.components() != 1 && reader.components() != 3 && reader.components() != 4) {
    return BrokenImage("JPEG", "it has neither 1, 3 nor 4 colour components");
  }
  Image image = AllocateImage(reader.width(), reader.height());
  std::vector<uint8_t> row(reader.has_black() ? size_t{4} * image.width : 0);
  RETURN_IF_ERROR(reader.ReadPixels(image.rgb.data(), row.data()));
  return image;
}

}  // namespace tessera
