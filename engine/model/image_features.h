// An image as the vision encoder has left it: rows for the language model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "engine/backend/backend.h"

namespace tessera {

// Rows [first_row, first_row + rows) of `features` are the image's; those of tap l begin (1 + l)
// · level_rows later.
struct ImageFeatures {
  std::shared_ptr<Buffer> features;  // shared by the images that were encoded together
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t taps = 0;
  int32_t level_rows = 0;  // of all of them
  size_t bytes = 0;
};
using ImageFeaturesPtr = std::shared_ptr<const ImageFeatures>;

}  // namespace tessera
