#include "tests/testing/images.h"

#include <gtest/gtest.h>
#include <webp/encode.h>
#include <zlib.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <utility>
#include <vector>

// After <cstdio>: the header needs size_t and FILE.
#include <jpeglib.h>

namespace tessera::testing {
namespace {

std::string BigEndian(uint32_t value, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    text += static_cast<char>(value >> shift);
  }
  return text;
}

std::string LittleEndian(uint32_t value) {
  const std::string big = BigEndian(value, 4);
  return {big.rbegin(), big.rend()};
}

std::string PngChunk(const std::string& type, const std::string& data) {
  const std::string covered = type + data;
  const auto crc =
      crc32(0, reinterpret_cast<const Bytef*>(covered.data()), static_cast<uInt>(covered.size()));
  return BigEndian(static_cast<uint32_t>(data.size()), 4) + covered +
         BigEndian(static_cast<uint32_t>(crc), 4);
}

// `count` times the bytes of `piece`.
std::string Deflate(const std::string& piece, int count) {
  z_stream stream{};
  EXPECT_EQ(deflateInit(&stream, 1), Z_OK);
  std::string out;
  std::vector<Bytef> buffer(1 << 16);
  for (int i = 0; i <= count; ++i) {
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));
    stream.avail_in = i < count ? static_cast<uInt>(piece.size()) : 0;
    do {
      stream.next_out = buffer.data();
      stream.avail_out = static_cast<uInt>(buffer.size());
      deflate(&stream, i < count ? Z_NO_FLUSH : Z_FINISH);
      out.append(reinterpret_cast<char*>(buffer.data()), buffer.size() - stream.avail_out);
    } while (stream.avail_out == 0);
  }
  deflateEnd(&stream);
  return out;
}

// The script of a progressive file: spectral selections of a few coefficients each, sent at once or
// bit by bit. Three scans of colour, the others of luma alone.
std::vector<jpeg_scan_info> ScanScript(int scans) {
  std::vector<jpeg_scan_info> script = {
      {3, {0, 1, 2}, 0, 0, 0, 0}, {1, {1}, 1, 63, 0, 0}, {1, {2}, 1, 63, 0, 0}};
  const int cuts = scans - static_cast<int>(script.size());
  for (int i = 0; i < cuts; ++i) {
    script.push_back({1, {0}, 1 + 63 * i / cuts, 63 * (i + 1) / cuts, 0, 0});
  }
  return script;
}

// `row`: the pixels of row y, [width, 3].
template <typename Row>
std::string EncodeJpeg(int width, int height, int scans, Row row) {
  jpeg_compress_struct info;
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;  // NOLINT(google-runtime-int): libjpeg's type
  jpeg_mem_dest(&info, &bytes, &size);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  for (int c = 0; c < 3; ++c) info.comp_info[c].h_samp_factor = info.comp_info[c].v_samp_factor = 1;
  const std::vector<jpeg_scan_info> script = ScanScript(scans);
  info.scan_info = script.data();
  info.num_scans = static_cast<int>(script.size());
  jpeg_start_compress(&info, TRUE);
  std::vector<uint8_t> pixels(size_t{3} * width);
  for (int y = 0; y < height; ++y) {
    row(y, pixels);
    JSAMPROW line = pixels.data();
    jpeg_write_scanlines(&info, &line, 1);
  }
  jpeg_finish_compress(&info);
  std::string file(reinterpret_cast<char*>(bytes), size);
  std::free(bytes);
  jpeg_destroy_compress(&info);
  return file;
}

}  // namespace

std::string BlankPng(int width, int height) {
  const std::string ihdr = BigEndian(static_cast<uint32_t>(width), 4) +
                           BigEndian(static_cast<uint32_t>(height), 4) +
                           std::string("\x8\x2\0\0\0", 5);
  const std::string row(1 + size_t{3} * width, '\0');
  return std::string("\x89PNG\r\n\x1a\n") + PngChunk("IHDR", ihdr) +
         PngChunk("IDAT", Deflate(row, height)) + PngChunk("IEND", "");
}

// RFC 9649, section 3: signature, sizes less one, and after them bits that say: no transforms, no
// colour cache, one group of five prefix codes, each of the one symbol 0, which takes no bits.
std::string BlankWebp(int width, int height) {
  const uint64_t sizes = static_cast<uint64_t>(width - 1) | static_cast<uint64_t>(height - 1) << 14;
  uint64_t codes = 0;
  for (int code = 0; code < 5; ++code) codes |= uint64_t{1} << (4 * code);  // simple, one symbol
  std::string data = "\x2f" + LittleEndian(static_cast<uint32_t>(sizes));
  data += LittleEndian(static_cast<uint32_t>(codes << 3)).substr(0, 3);
  return "RIFF" + LittleEndian(static_cast<uint32_t>(12 + data.size())) + "WEBPVP8L" +
         LittleEndian(static_cast<uint32_t>(data.size())) + data;
}

std::string NoisyWebp(int width, int height, bool lossless) {
  std::vector<uint8_t> pixels(size_t{3} * width * height);
  std::minstd_rand random(1);
  for (uint8_t& sample : pixels) sample = static_cast<uint8_t>(random());
  uint8_t* bytes = nullptr;
  const size_t size = lossless
                          ? WebPEncodeLosslessRGB(pixels.data(), width, height, 3 * width, &bytes)
                          : WebPEncodeRGB(pixels.data(), width, height, 3 * width, 90, &bytes);
  EXPECT_GT(size, 0u);
  std::string file(reinterpret_cast<char*>(bytes), size);
  WebPFree(bytes);
  return file;
}

std::string ProgressiveJpeg(int width, int height, int scans) {
  return EncodeJpeg(width, height, scans, [](int y, std::vector<uint8_t>& pixels) {
    for (size_t i = 0; i < pixels.size(); ++i) {
      pixels[i] = static_cast<uint8_t>((i + static_cast<size_t>(y)) * (i % 3 + 1) / 16);
    }
  });
}

std::string RepeatedScansJpeg(int width, int height, int scans) {
  std::string file = EncodeJpeg(
      64, 64, 4, [](int, std::vector<uint8_t>& pixels) { pixels.assign(pixels.size(), 128); });
  const size_t frame = file.find("\xff\xc2");
  file.replace(
      frame + 5, 4,
      BigEndian(static_cast<uint32_t>(height), 2) + BigEndian(static_cast<uint32_t>(width), 2));
  const std::string last = file.substr(file.rfind("\xff\xda"));
  for (int i = 4; i < scans; ++i) {
    file.insert(file.size() - 2, last.substr(0, last.size() - 2));
  }
  return file;
}

absl::StatusOr<PreparedPrompt> PromptOf(const Preparer& preparer, const Request& request) {
  absl::StatusOr<PromptPlan> plan = preparer.Plan(request);
  if (!plan.ok()) return plan.status();
  return std::move(plan->prompt);
}

}  // namespace tessera::testing
