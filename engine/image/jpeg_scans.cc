#include "engine/image/jpeg_scans.h"

#include <algorithm>

namespace tessera {
namespace {

constexpr uint8_t kStuffedByte = 0x00;
constexpr uint8_t kTemporary = 0x01;
constexpr uint8_t kFirstRestart = 0xd0;
constexpr uint8_t kStartOfImage = 0xd8;
constexpr uint8_t kEndOfImage = 0xd9;
constexpr uint8_t kStartOfScan = 0xda;

// Markers without a segment behind them; inside coded data those that do not end it.
bool StandsAlone(uint8_t marker) {
  return marker == kStuffedByte || marker == kTemporary ||
         (marker >= kFirstRestart && marker <= kStartOfImage);
}

// `segment` begins with the number of components, then two bytes for each.
JpegScan ReadScan(std::string_view segment) {
  JpegScan scan;
  if (segment.empty()) return scan;
  const auto given = static_cast<size_t>(static_cast<uint8_t>(segment[0]));
  const size_t components = std::min({given, scan.ids.size(), (segment.size() - 1) / 2});
  for (size_t i = 0; i < components; ++i) scan.ids[i] = static_cast<uint8_t>(segment[1 + 2 * i]);
  scan.components = static_cast<int>(components);
  return scan;
}

}  // namespace

std::vector<JpegScan> FindJpegScans(std::string_view bytes, size_t limit) {
  std::vector<JpegScan> scans;
  while (scans.size() < limit) {
    bytes.remove_prefix(std::min(bytes.find('\xff'), bytes.size()));
    bytes.remove_prefix(std::min(bytes.find_first_not_of('\xff'), bytes.size()));
    if (bytes.empty()) break;
    const auto marker = static_cast<uint8_t>(bytes[0]);
    bytes.remove_prefix(1);
    if (StandsAlone(marker)) continue;
    if (marker == kEndOfImage || bytes.size() < 2) break;
    const size_t length =
        size_t{static_cast<uint8_t>(bytes[0])} << 8 | static_cast<uint8_t>(bytes[1]);
    if (length < 2 || length > bytes.size()) break;
    if (marker == kStartOfScan) scans.push_back(ReadScan(bytes.substr(2, length - 2)));
    bytes.remove_prefix(length);
  }
  return scans;
}

}  // namespace tessera
