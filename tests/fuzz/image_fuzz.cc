// Any bytes as an image: refused, or pixels of the size that the image says, which then are
// turned upright.
#include "engine/base/check.h"
#include "engine/image/image.h"
#include "engine/image/orientation.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tessera::ImageLimits limits;
  limits.max_pixels = 1 << 16;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const int orientation = tessera::ReadOrientation(bytes);
  TESSERA_CHECK(orientation >= 1 && orientation <= 8);
  const auto image = tessera::DecodeImage(bytes, "", limits);
  if (!image.ok()) return 0;
  TESSERA_CHECK(image->width > 0 && image->height > 0);
  TESSERA_CHECK(int64_t{image->width} * image->height <= limits.max_pixels);
  TESSERA_CHECK(image->rgb.size() == size_t{3} * image->width * image->height);
  TESSERA_CHECK(tessera::TurnUpright(*image, orientation).rgb.size() == image->rgb.size());
  return 0;
}
