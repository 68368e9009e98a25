// What JPEG, PNG and WebP files note about their image beside its pixels. Any bytes may be given:
// what is cut or makes no sense is as if it were not there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tessera {

struct ImageNotes {
  std::string exif;      // a TIFF file; empty for none
  std::string_view xmp;  // the file's own bytes; empty for none
};
ImageNotes FindNotes(std::string_view file);

// The orientation tag (0x0112) in the first directory of a TIFF file; nothing where there is none.
std::optional<int64_t> ExifOrientation(std::string_view tiff);
// The first "tiff:Orientation", 1 to 8.
std::optional<int> XmpOrientation(std::string_view xmp);

}  // namespace tessera
