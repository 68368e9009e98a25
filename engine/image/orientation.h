// Images that lie on their side in the file, with a note of how to turn them: the orientation tag
// of EXIF (CIPA DC-008, §4.6.5) or of XMP. Whether a model's images are turned is a fact about
// the code that it was published with. Equal to Pillow 13's ImageOps.exif_transpose.
#pragma once

#include <string_view>

#include "engine/image/image.h"

namespace tessera {

// Of a JPEG, PNG or WebP file: 1 (upright, or nothing is said that makes sense) to 8. Any bytes may
// be given; time is linear in them.
int ReadOrientation(std::string_view file);

struct ImageSize {
  int width = 0;
  int height = 0;
};

// What an image that is stored so becomes; 5 to 8 exchange width and height.
ImageSize UprightSize(ImageSize stored, int orientation);
Image TurnUpright(Image stored, int orientation);

}  // namespace tessera
