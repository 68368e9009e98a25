#include "engine/step/batch_builder.h"

#include <algorithm>
#include <bit>

#include "engine/base/check.h"

namespace tessera {
namespace {

// Rows of the span that lie in this chunk, mapped to rows of the encoded image.
void AddImageRows(const PlannedRows& planned, const ImageSpan& span, const SequenceInput& input,
                  int32_t first_row, BuiltBatch& built) {
  const int32_t begin = std::max(planned.begin, span.begin);
  const int32_t end = std::min(planned.begin + planned.count, span.begin + span.rows);
  if (begin >= end) return;
  const ImageFeaturesPtr& image = input.images[static_cast<size_t>(span.image)];
  TESSERA_CHECK(image != nullptr);
  built.images.push_back(image);
  ImageRows& rows = built.batch.images.emplace_back();
  rows.features = image->features->tensor();
  rows.taps = image->taps;
  rows.level_rows = image->level_rows;
  for (int32_t row = begin; row < end; ++row) {
    const int32_t target = first_row + row - planned.begin;
    rows.source.push_back(image->first_row + row - span.begin);
    rows.target.push_back(target);
    built.image_row[static_cast<size_t>(target)] = true;
  }
}

void AddRows(const PlannedRows& planned, const SequenceInput& input, int32_t block_size,
             bool with_router_seeds, BuiltBatch& built) {
  Batch& batch = built.batch;
  const Sequence& sequence = *planned.sequence;
  const int32_t first_row = static_cast<int32_t>(batch.rows());
  TESSERA_CHECK(sequence.unknown <= 1);
  for (int32_t row = planned.begin; row < planned.begin + planned.count; ++row) {
    const BlockId block = sequence.blocks[static_cast<size_t>(row / block_size)];
    batch.ids.push_back(row < sequence.known_rows()
                            ? std::max(0, sequence.tokens[static_cast<size_t>(row)])
                            : -1 - sequence.sampled_place);
    batch.slots.push_back(block * block_size + row % block_size);
    built.image_row.push_back(false);
    if (!with_router_seeds) continue;
    batch.router_seeds.push_back(input.router_seed);
    batch.router_rows.push_back(row);
  }
  for (const ImageSpan& span : sequence.prompt.spans) {
    AddImageRows(planned, span, input, first_row, built);
  }
  batch.query_starts.push_back(static_cast<int32_t>(batch.rows()));
  batch.context_lengths.push_back(planned.begin + planned.count);
  batch.prompt_rows.push_back(std::clamp(sequence.prompt_rows() - planned.begin, 0, planned.count));
  batch.has_images.push_back(!sequence.prompt.spans.empty());
  if (planned.samples) {
    batch.logit_rows.push_back(static_cast<int32_t>(batch.rows()) - 1);
    built.sampling.push_back(sequence.ticket);
  }
}

// One axis of the positions of all rows of the plan.
void AddPositions(const StepPlan& plan, size_t axis, std::vector<int32_t>& positions) {
  for (const PlannedRows& planned : plan.rows) {
    const auto& spatial = planned.sequence->prompt.positions;
    for (int32_t row = planned.begin; row < planned.begin + planned.count; ++row) {
      positions.push_back(spatial ? spatial->At(axis, row) : row);
    }
  }
}

// Where every sequence has one row, a power of two: so that such steps, of which there are many,
// are of few shapes (GraphCache).
int64_t TableWidth(const StepPlan& plan) {
  size_t most = 0;
  bool answers = true;
  for (const PlannedRows& planned : plan.rows) {
    most = std::max(most, planned.sequence->blocks.size());
    answers = answers && planned.count == 1;
  }
  return static_cast<int64_t>(answers ? std::bit_ceil(most) : most);
}

}  // namespace

BuiltBatch BuildBatch(const StepPlan& plan, std::span<const SequenceInput> inputs,
                      int32_t block_size, int position_axes, bool with_router_seeds) {
  TESSERA_CHECK(inputs.size() == plan.rows.size());
  BuiltBatch built;
  Batch& batch = built.batch;
  for (int axis = 0; axis < position_axes; ++axis) {
    AddPositions(plan, static_cast<size_t>(axis), batch.positions);
  }
  batch.max_blocks = TableWidth(plan);
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const PlannedRows& planned = plan.rows[i];
    AddRows(planned, inputs[i], block_size, with_router_seeds, built);
    const std::vector<BlockId>& blocks = planned.sequence->blocks;
    batch.block_tables.insert(batch.block_tables.end(), blocks.begin(), blocks.end());
    batch.block_tables.insert(batch.block_tables.end(),
                              static_cast<size_t>(batch.max_blocks) - blocks.size(), 0);
  }
  return built;
}

}  // namespace tessera
