#include "engine/image/orientation.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/base/check.h"
#include "engine/image/exif.h"

namespace tessera {

int ReadOrientation(std::string_view file) {
  const ImageNotes notes = FindNotes(file);
  if (const std::optional<int64_t> tag = ExifOrientation(notes.exif)) {
    return *tag >= 1 && *tag <= 8 ? static_cast<int>(*tag) : 1;
  }
  return XmpOrientation(notes.xmp).value_or(1);
}

ImageSize UprightSize(ImageSize stored, int orientation) {
  if (orientation >= 5) std::swap(stored.width, stored.height);
  return stored;
}

Image TurnUpright(Image stored, int orientation) {
  TESSERA_CHECK(orientation >= 1 && orientation <= 8);
  if (orientation == 1) return stored;
  const ImageSize size = UprightSize({stored.width, stored.height}, orientation);
  const bool exchanged = orientation >= 5;
  // Which ends of the stored image's columns and rows come first.
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image upright{size.width, size.height, std::vector<uint8_t>(stored.rgb.size())};
  uint8_t* to = upright.rgb.data();
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x, to += 3) {
      const int column = exchanged ? y : x;
      const int row = exchanged ? x : y;
      const int from_x = from_right ? stored.width - 1 - column : column;
      const int from_y = from_bottom ? stored.height - 1 - row : row;
      const size_t pixel = static_cast<size_t>(from_y) * stored.width + from_x;
      std::memcpy(to, stored.rgb.data() + 3 * pixel, 3);
    }
  }
  return upright;
}

}  // namespace tessera
