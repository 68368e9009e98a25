// PNG through libpng's row interface, without its gamma and colour handling: samples as they are
// stored, as Pillow takes them.
#include <png.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "engine/base/status.h"
#include "engine/image/image_codecs.h"

namespace tessera {
namespace {

// Measured with blank images, which are all rows, and with noise, which is all bytes.
constexpr double kPixelWork = 4;
constexpr double kStoredByteWork = 1.5;  // of a row before it becomes 8-bit RGB
constexpr double kInterlacedWork = 6;    // of a pixel, beside
constexpr double kFileByteWork = 3;

// Pillow opens 16-bit gray as integers and clips them to 8 bits, where all other 16-bit images
// lose their low byte. `row` is big-endian 16-bit RGB on entry and 8-bit RGB on return.
void ClipTo8Bits(png_structp, png_row_infop row_info, png_bytep row) {
  const size_t samples = size_t{3} * row_info->width;
  for (size_t i = 0; i < samples; ++i) row[i] = row[2 * i] != 0 ? 255 : row[2 * i + 1];
}

class PngReader {
 public:
  PngReader(std::string_view bytes, const Cancellation& cancellation)
      : rest_(bytes), cancellation_(cancellation) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, OnError, OnWarning);
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  // Reads up to the first pixels. Ancillary chunks (profiles, compressed texts, transparency) are
  // skipped unread, so they cost neither memory nor inflation.
  absl::Status ReadHeader() {
    if (info_ == nullptr) return BrokenImage("PNG", "libpng could not start");
    if (setjmp(png_jmpbuf(png_)) != 0) return BrokenImage("PNG", message_.data());
    png_set_read_fn(png_, this, OnRead);
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // CheckImageSize says it better
    png_set_chunk_malloc_max(png_, png_alloc_size_t{1} << 20);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER,
                                reinterpret_cast<png_const_bytep>("tRNS"), 1);
    png_set_option(png_, PNG_MAXIMUM_INFLATE_WINDOW, PNG_OPTION_ON);
    png_read_info(png_, info_);
    return absl::OkStatus();
  }

  // `rgb`: [height, width, 3].
  absl::Status ReadPixels(uint8_t* rgb) {
    if (setjmp(png_jmpbuf(png_)) != 0) {
      return cancellation_.Requested() ? DecodingCancelled() : BrokenImage("PNG", message_.data());
    }
    SetTransforms();
    const int passes = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    const size_t stride = size_t{3} * png_get_image_width(png_, info_);
    if (png_get_rowbytes(png_, info_) != stride) png_error(png_, "its rows have an odd size");
    for (int pass = 0; pass < passes; ++pass) {
      for (uint32_t y = 0; y < png_get_image_height(png_, info_); ++y) {
        if (cancellation_.Requested()) png_error(png_, "cancelled");
        png_read_row(png_, rgb + y * stride, nullptr);
      }
    }
    return absl::OkStatus();
  }

  int64_t width() const { return png_get_image_width(png_, info_); }
  int64_t height() const { return png_get_image_height(png_, info_); }
  // Of a pixel, before SetTransforms().
  int64_t bits() const {
    return int64_t{png_get_bit_depth(png_, info_)} * png_get_channels(png_, info_);
  }
  bool interlaced() const { return png_get_interlace_type(png_, info_) != PNG_INTERLACE_NONE; }

 private:
  // Asks libpng for 8-bit RGB rows whatever the file holds. Pixels that point beyond a short
  // palette become black.
  void SetTransforms() {
    const int type = png_get_color_type(png_, info_);
    const int depth = png_get_bit_depth(png_, info_);
    png_set_expand(png_);
    png_set_strip_alpha(png_);
    png_set_gray_to_rgb(png_);
    if (type == PNG_COLOR_TYPE_GRAY && depth == 16) {
      png_set_read_user_transform_fn(png_, ClipTo8Bits);
      png_set_user_transform_info(png_, nullptr, 8, 3);
    } else {
      png_set_strip_16(png_);
    }
  }

  [[noreturn]] static void OnError(png_structp png, png_const_charp message) {
    auto* reader = static_cast<PngReader*>(png_get_error_ptr(png));
    std::snprintf(reader->message_.data(), reader->message_.size(), "%s", message);
    png_longjmp(png, 1);
  }

  static void OnWarning(png_structp, png_const_charp) {}

  static void OnRead(png_structp png, png_bytep target, size_t size) {
    auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
    if (size > reader->rest_.size()) png_error(png, "the file is truncated");
    std::memcpy(target, reader->rest_.data(), size);
    reader->rest_.remove_prefix(size);
  }

  std::string_view rest_;  // not yet read
  const Cancellation& cancellation_;
  std::array<char, 256> message_{};
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

// Size, work and memory of a file whose header is read.
absl::StatusOr<ImageHeader> HeaderOf(const PngReader& reader, std::string_view bytes,
                                     const ImageLimits& limits) {
  RETURN_IF_ERROR(CheckImageSize("PNG", reader.width(), reader.height(), limits));
  ImageHeader header{.width = static_cast<int>(reader.width()),
                     .height = static_cast<int>(reader.height())};
  const double pixel = kPixelWork + kResizeWork + kStoredByteWork * reader.bits() / 8 +
                       (reader.interlaced() ? kInterlacedWork : 0);
  header.work = static_cast<int64_t>(pixel * header.pixels() + kFileByteWork * bytes.size());
  header.decoding_bytes = 3 * header.pixels();
  RETURN_IF_ERROR(CheckImageWork("PNG image", header, limits));
  return header;
}

}  // namespace

absl::StatusOr<ImageHeader> ReadPngHeader(std::string_view bytes, const ImageLimits& limits) {
  PngReader reader(bytes, kNeverCancelled);
  RETURN_IF_ERROR(reader.ReadHeader());
  return HeaderOf(reader, bytes, limits);
}

absl::StatusOr<Image> DecodePng(std::string_view bytes, const ImageLimits& limits,
                                const Cancellation& cancellation) {
  PngReader reader(bytes, cancellation);
  RETURN_IF_ERROR(reader.ReadHeader());
  ASSIGN_OR_RETURN(const ImageHeader header, HeaderOf(reader, bytes, limits));
  Image image = AllocateImage(header.width, header.height);
  RETURN_IF_ERROR(reader.ReadPixels(image.rgb.data()));
  return image;
}

}  // namespace tessera
