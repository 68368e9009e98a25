// One forward pass flattened into plain arrays: what the model sees of the sequences in a step.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/backend/tensor.h"

namespace tessera {

// Rows of this pass that are not token embeddings but rows of an encoded picture: row target[i] of the pass is features[source[i]].
struct ImageRows {
  Tensor features;  // [rows, hidden], on the device
  std::vector<int32_t> source;
  std::vector<int32_t> target;
};

// S sequences, T rows. See PagedBatch for a worked example of the index arrays.
struct Batch {
  std::vector<int32_t> ids;        // [T]; 0 for image rows
  std::vector<int32_t> positions;  // [T]
  std::vector<int32_t> slots;      // [T]
  std::vector<int32_t> query_starts = {0};  // [S + 1]
  std::vector<int32_t> context_lengths;     // [S]
  std::vector<int32_t> block_tables;        // [S, max_blocks], 0 where there is none
  int64_t max_blocks = 0;
  // Per sequence: how many of its rows here, the first ones, are of its prompt (the others are of its answer), and whether that prompt
  // has pictures. Some models compute answers otherwise.
  std::vector<int32_t> prompt_rows;  // [S]
  std::vector<bool> pictured;        // [S]
  std::vector<ImageRows> images;
  std::vector<int32_t> logit_rows;      // rows whose logits are wanted
  std::vector<uint64_t> router_seeds;   // [T] where routing is random, else empty

  int64_t rows() const { return static_cast<int64_t>(ids.size()); }
  int64_t sequences() const { return static_cast<int64_t>(context_lengths.size()); }
};

}  // namespace tessera
