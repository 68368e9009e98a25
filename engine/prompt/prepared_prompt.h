// What is made of a request before it is scheduled: rows of token ids, and its images as patches.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/base/memory_budget.h"
#include "engine/image/prepared_image.h"
#include "engine/prompt/prompt.h"

namespace tessera {

// Rows [begin, begin + rows) of the prompt are those of image `image`.
struct ImageSpan {
  int32_t begin = 0;
  int32_t rows = 0;
  int32_t image = 0;
};

// Rotary positions of a sequence's rows where they have the axes time, row and column (Qwen3-VL;
// multimodal rotary positions: Wang et al. 2024, Qwen2-VL, arXiv:2409.12191, §2.1): text counts on
// along all three; an image's token (r, c) gets (n, n + r, n + c), and the text behind it goes on
// from n + max(rows, columns).
struct SpatialPositions {
  std::array<std::vector<int32_t>, 3> axes;  // of the prompt's rows
  int32_t next = 0;                          // of the row behind the prompt, on every axis

  // Worked example: one token, an image of 2 × 3 tokens, one token →
  //   time 0 1 1 1 1 1 1 4   row 0 1 1 1 2 2 2 4   column 0 1 2 3 1 2 3 4, then 5 on all.
  void AddText(int32_t rows);
  void AddImage(int32_t rows, int32_t columns);
  int32_t At(size_t axis, int32_t row) const;  // also of rows behind the prompt
};

struct PreparedPrompt {
  std::vector<int32_t> ids;   // as the tokenizer gives them, one kImagePlaceholder per image
  std::vector<int32_t> rows;  // expanded: kImagePlaceholder for each row of an image
  std::vector<ImageSpan> spans;
  std::optional<SpatialPositions> positions;  // none: a row's place in the sequence
  std::vector<std::shared_ptr<const PreparedImage>> images;
  std::shared_ptr<MemoryCharge> memory;  // for the images' patches; null: nobody counts them
  double preprocess_seconds = 0;
  int32_t reduced_images = 0;  // shrunk to InputLimits::max_image_tokens or the request's

  int32_t image_rows() const {
    int32_t total = 0;
    for (const ImageSpan& span : spans) total += span.rows;
    return total;
  }
};

}  // namespace tessera
