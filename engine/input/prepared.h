// What the input stage makes of a request: rows of token ids and pictures as patches.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/input/prompt.h"
#include "engine/sha256.h"

namespace tessera {

struct PreparedImage {
  Digest digest;               // of the fitted pixels, their size and the preprocessing: the picture's identity
  std::vector<float> patches;  // [views · patches, 3 · patch_size²]
  int32_t rows = 0;            // that it takes in the language model
};

// Rows [begin, begin + rows) of the prompt are those of picture `image`.
struct ImageSpan {
  int32_t begin = 0;
  int32_t rows = 0;
  int32_t image = 0;
};

struct PreparedPrompt {
  std::vector<int32_t> ids;   // as the tokenizer gives them, one kImagePlaceholder per picture
  std::vector<int32_t> rows;  // expanded: kImagePlaceholder for each row of a picture
  std::vector<ImageSpan> spans;
  std::vector<std::shared_ptr<const PreparedImage>> images;
  double preprocess_seconds = 0;

  int32_t image_rows() const {
    int32_t total = 0;
    for (const ImageSpan& span : spans) total += span.rows;
    return total;
  }
};

}  // namespace tessera
