#include "engine/image/exif.h"

#include <algorithm>

namespace tessera {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::string_view kExifMark = "Exif\0\0"sv;

// Unsigned integers in either order of bytes; 0 where they are not all there.
uint64_t Number(std::string_view bytes, size_t at, size_t size, bool little) {
  if (at > bytes.size() || size > bytes.size() - at) return 0;
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) {
    value = value << 8 | static_cast<uint8_t>(bytes[at + (little ? size - 1 - i : i)]);
  }
  return value;
}

// Segments behind the first marker up to the first scan (ITU-T T.81, annex B). EXIF that does not
// fit into one goes on in the next.
ImageNotes FindInJpeg(std::string_view file) {
  constexpr uint8_t kApp1 = 0xE1, kScan = 0xDA, kEnd = 0xD9;
  constexpr std::string_view kXmpMark = "http://ns.adobe.com/xap/1.0/\0"sv;
  ImageNotes notes;
  size_t at = 2;
  while (at + 4 <= file.size()) {
    const auto marker = static_cast<uint8_t>(file[at + 1]);
    if (file[at] != '\xff' || marker == 0xff ||
        marker == 0) {  // fill, or what does not belong here
      ++at;
      continue;
    }
    if (marker == kScan || marker == kEnd) break;
    const bool alone = marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8);
    if (alone) {
      at += 2;
      continue;
    }
    const size_t length = Number(file, at + 2, 2, /*little=*/false);
    if (length < 2 || length > file.size() - at - 2) break;
    std::string_view content = file.substr(at + 4, length - 2);
    if (marker == kApp1 && content.starts_with(kExifMark)) {
      notes.exif += content.substr(kExifMark.size());
    } else if (marker == kApp1 && content.starts_with(kXmpMark)) {
      notes.xmp = content.substr(kXmpMark.size());
    }
    at += 2 + length;
  }
  return notes;
}

// The text of an uncompressed iTXt chunk with the key of XMP (PNG, third edition, §11.3.3.4).
std::string_view PngXmp(std::string_view chunk) {
  constexpr std::string_view kKey = "XML:com.adobe.xmp\0"sv;
  if (!chunk.starts_with(kKey) || chunk.size() < kKey.size() + 2) return "";
  if (chunk[kKey.size()] != 0) return "";
  chunk.remove_prefix(kKey.size() + 2);
  for (int field = 0; field < 2; ++field) {  // language, translated key
    const size_t end = chunk.find('\0');
    if (end == std::string_view::npos) return "";
    chunk.remove_prefix(end + 1);
  }
  return chunk;
}

ImageNotes FindInPng(std::string_view file) {
  ImageNotes notes;
  for (size_t at = 8; at + 12 <= file.size();) {
    const size_t length = Number(file, at, 4, /*little=*/false);
    if (length > file.size() - at - 12) break;
    const std::string_view type = file.substr(at + 4, 4);
    const std::string_view content = file.substr(at + 8, length);
    if (type == "eXIf") notes.exif = content;
    if (type == "iTXt") {
      if (const std::string_view xmp = PngXmp(content); !xmp.empty()) notes.xmp = xmp;
    }
    if (type == "IEND") break;
    at += 12 + length;
  }
  return notes;
}

// Only the extended format has notes, and says in its flags which (RFC 9649, §2.7).
ImageNotes FindInWebp(std::string_view file) {
  constexpr uint8_t kHasXmp = 0x04, kHasExif = 0x08;
  ImageNotes notes;
  if (file.size() < 30 || file.substr(12, 4) != "VP8X") return notes;
  const auto flags = static_cast<uint8_t>(file[20]);
  for (size_t at = 12; at + 8 <= file.size();) {
    const size_t length = Number(file, at + 4, 4, /*little=*/true);
    if (length > file.size() - at - 8) break;
    const std::string_view type = file.substr(at, 4);
    const std::string_view content = file.substr(at + 8, length);
    if (type == "EXIF" && (flags & kHasExif) != 0 && notes.exif.empty()) notes.exif = content;
    if (type == "XMP " && (flags & kHasXmp) != 0 && notes.xmp.empty()) notes.xmp = content;
    at += 8 + length + length % 2;
  }
  return notes;
}

// An integer of a directory's entry, the first of several; nothing for other types (TIFF 6.0, §2).
std::optional<int64_t> EntryValue(std::string_view tiff, size_t entry, bool little) {
  struct Type {
    uint64_t id;
    size_t bytes;
    bool is_signed;
  };
  constexpr Type kIntegers[] = {
      {3, 2, false}, {4, 4, false}, {6, 1, true}, {8, 2, true}, {9, 4, true}};
  const uint64_t id = Number(tiff, entry + 2, 2, little);
  const uint64_t count = Number(tiff, entry + 4, 4, little);
  const auto* type = std::find_if(std::begin(kIntegers), std::end(kIntegers),
                                  [&](const Type& known) { return known.id == id; });
  if (type == std::end(kIntegers) || count == 0) return std::nullopt;
  const uint64_t size = count * type->bytes;
  const size_t at = size > 4 ? Number(tiff, entry + 8, 4, little) : entry + 8;
  if (at > tiff.size() || size > tiff.size() - at) return std::nullopt;
  const uint64_t value = Number(tiff, at, type->bytes, little);
  const uint64_t sign = uint64_t{1} << (8 * type->bytes - 1);
  if (!type->is_signed || value < sign) return static_cast<int64_t>(value);
  return static_cast<int64_t>(value) - 2 * static_cast<int64_t>(sign);
}

}  // namespace

ImageNotes FindNotes(std::string_view file) {
  if (file.starts_with("\xff\xd8"sv)) return FindInJpeg(file);
  if (file.starts_with("\x89PNG\r\n\x1a\n"sv)) return FindInPng(file);
  if (file.starts_with("RIFF"sv) && file.substr(0, 12).ends_with("WEBP"sv)) return FindInWebp(file);
  return {};
}

std::optional<int64_t> ExifOrientation(std::string_view tiff) {
  constexpr uint64_t kTag = 0x0112;
  constexpr size_t kEntryBytes = 12;
  for (int mark = 0; mark < 2 && tiff.starts_with(kExifMark); ++mark) {
    tiff.remove_prefix(kExifMark.size());
  }
  const bool little = tiff.starts_with("II");
  if (!little && !tiff.starts_with("MM")) return std::nullopt;
  // Some writers swap the bytes of the version.
  const std::string_view version = tiff.substr(std::min<size_t>(2, tiff.size()), 2);
  if (version != "\x2a\0"sv && version != "\0\x2a"sv) return std::nullopt;
  const size_t directory = Number(tiff, 4, 4, little);
  const uint64_t entries = Number(tiff, directory, 2, little);
  for (uint64_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + i * kEntryBytes;
    if (entry + kEntryBytes > tiff.size()) break;
    if (Number(tiff, entry, 2, little) != kTag) continue;
    if (const auto value = EntryValue(tiff, entry, little)) return value;  // the first counts
  }
  return std::nullopt;
}

std::optional<int> XmpOrientation(std::string_view xmp) {
  constexpr std::string_view kName = "tiff:Orientation";
  for (size_t at = xmp.find(kName); at != std::string_view::npos; at = xmp.find(kName, at + 1)) {
    std::string_view rest = xmp.substr(at + kName.size());
    if (rest.starts_with("=\"")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with(">")) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (rest.empty() || rest[0] < '0' || rest[0] > '9') continue;
    const int value = rest[0] - '0';
    return value >= 1 && value <= 8 ? std::optional(value) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace tessera
