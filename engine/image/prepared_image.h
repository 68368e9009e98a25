// An image that is ready for the vision encoder.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/sha256.h"
#include "engine/image/native_size.h"

namespace tessera {

struct PreparedImage {
  // of the fitted pixels, their size and the preprocessing: the image's identity
  Digest digest;
  std::vector<float> patches;  // [views · patches, 3 · frames · patch_size²]
  PatchGrid grid;              // of one view
  int32_t rows = 0;            // that it takes in the language model
};

}  // namespace tessera
