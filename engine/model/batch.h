// One forward pass flattened into plain arrays: what the model sees of the sequences in a step.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/backend/tensor.h"

namespace tessera {

// Rows of this pass that are not token embeddings but rows of an encoded image: row target[i] of
// the pass is features[source[i]]. Where the encoder has taps, features[source[i] + (1 + l) ·
// level_rows] is added to that row behind decoder layer l, l < taps.
struct ImageRows {
  Tensor features;  // [(1 + taps) · level_rows, hidden], on the device
  int taps = 0;
  int32_t level_rows = 0;
  std::vector<int32_t> source;
  std::vector<int32_t> target;
};

// S sequences, T rows. See PagedBatch for a worked example of the index arrays.
struct Batch {
  std::vector<int32_t> ids;                 // [T]; 0 for image rows; below 0: sampled[-1 - id]
  std::vector<int32_t> positions;           // [axes, T], see DecoderSpec::position_axes()
  std::vector<int32_t> slots;               // [T]
  std::vector<int32_t> query_starts = {0};  // [S + 1]
  std::vector<int32_t> context_lengths;     // [S]
  std::vector<int32_t> block_tables;        // [S, max_blocks], 0 where there is none
  int64_t max_blocks = 0;
  // Per sequence: how many of its rows here, the first ones, are of its prompt (the others are of
  // its answer), and whether that prompt has images. Some models compute answers otherwise.
  std::vector<int32_t> prompt_rows;  // [S]
  std::vector<bool> has_images;      // [S]
  std::vector<ImageRows> images;
  std::vector<int32_t> logit_rows;  // rows whose logits are wanted
  Tensor sampled;  // int32, on the device: tokens that the host does not know yet; or empty
  // [T] where routing is random, else empty: the request's seed, and the row's place in its
  // sequence.
  std::vector<uint64_t> router_seeds;
  std::vector<int32_t> router_rows;

  int64_t rows() const { return static_cast<int64_t>(ids.size()); }
  int64_t sequences() const { return static_cast<int64_t>(context_lengths.size()); }
};

}  // namespace tessera
