#include "engine/model/patch_embedding.h"

#include <algorithm>
#include <cmath>

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

// Between which two of `table` places cell `i` of `cells` lies, the outer cells on the outer
// places, and how near the second.
struct Between {
  int32_t low = 0;
  int32_t high = 0;
  float share = 0;
};
Between PlaceOf(int i, int cells, int table) {
  const float step = cells > 1 ? static_cast<float>(table - 1) / static_cast<float>(cells - 1) : 0;
  const float place = std::min(static_cast<float>(i) * step, static_cast<float>(table - 1));
  const int low = static_cast<int>(std::floor(place));
  return {low, std::min(low + 1, table - 1), place - static_cast<float>(low)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<PatchEmbedding>> PatchEmbedding::Load(const VisionSpec& spec,
                                                                     WeightLoader& loader) {
  std::unique_ptr<PatchEmbedding> embedding(new PatchEmbedding(spec));
  const std::string name = spec.prefix + spec.names.patch_embedding;
  const int64_t patch = spec.patch_size;
  std::vector<int64_t> dims = {spec.hidden, 3, patch, patch};
  if (spec.native) dims.insert(dims.begin() + 2, spec.frames());
  LinearWeights convolution;
  ASSIGN_OR_RETURN(HostTensor weight, loader.Take(name + ".weight", dims));
  weight.dims = {spec.hidden, 3 * spec.frames() * patch * patch};
  convolution.weights.push_back(weight);
  if (spec.patch_bias) {
    ASSIGN_OR_RETURN(HostTensor bias, loader.Take(name + ".bias", {spec.hidden}));
    convolution.biases.push_back(bias);
  }
  ASSIGN_OR_RETURN(embedding->convolution_, loader.store().PackLinear(convolution));
  if (!spec.native) {
    RETURN_IF_ERROR(embedding->LoadSquare(loader));
    return embedding;
  }
  const int64_t places = int64_t{spec.position_grid} * spec.position_grid;
  ASSIGN_OR_RETURN(std::vector<float> rows,
                   loader.Floats(spec.prefix + spec.names.position_embedding + ".weight",
                                 {places, spec.hidden}));
  RETURN_IF_ERROR(embedding->LoadTable(std::move(rows), places, loader));
  return embedding;
}

absl::Status PatchEmbedding::LoadSquare(WeightLoader& loader) {
  const size_t hidden = static_cast<size_t>(spec_.hidden);
  ASSIGN_OR_RETURN(std::vector<float> rows,
                   loader.Floats(spec_.prefix + spec_.names.position_embedding + ".weight",
                                 {spec_.rows(), spec_.hidden}));
  if (spec_.class_token) {
    ASSIGN_OR_RETURN(const std::vector<float> token,
                     loader.Floats(spec_.prefix + spec_.names.class_embedding, {spec_.hidden}));
    for (size_t i = 0; i < hidden; ++i) rows[i] += token[i];
  }
  RETURN_IF_ERROR(LoadTable(std::move(rows), spec_.rows(), loader));
  if (!spec_.embedding_norm) return absl::OkStatus();
  ASSIGN_OR_RETURN(
      norm_, loader.Norm(spec_.prefix + spec_.names.embedding_norm, spec_.hidden,
                         NormKind::kLayerNorm, spec_.norm_epsilon, Bias::kRequired, buffers_));
  return absl::OkStatus();
}

absl::Status PatchEmbedding::LoadTable(std::vector<float> rows, int64_t count,
                                       WeightLoader& loader) {
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer,
                   loader.store().Load({DType::kFloat32, {count, spec_.hidden}, rows.data()},
                                       loader.store().activation_dtype()));
  table_ = buffer->tensor();
  buffers_.push_back(std::move(buffer));
  return absl::OkStatus();
}

Tensor PatchEmbedding::Embed(Backend& backend, std::span<const PreparedImage* const> images) const {
  std::vector<float> patches;
  for (const PreparedImage* image : images) {
    patches.insert(patches.end(), image->patches.begin(), image->patches.end());
  }
  const int64_t rows = static_cast<int64_t>(patches.size()) / convolution_->in;
  const Tensor embedded =
      backend.Linear(backend.UploadActivations(patches, {rows, convolution_->in}), *convolution_);
  if (!spec_.native) {
    const int64_t views = static_cast<int64_t>(images.size()) * spec_.views();
    TESSERA_CHECK(rows == views * spec_.patches());
    return EmbedViews(backend, embedded, views);
  }
  backend.Add(embedded, InterpolatePositions(backend, images));
  return embedded;
}

Tensor PatchEmbedding::EmbedViews(Backend& backend, Tensor patches, int64_t views) const {
  const int64_t rows = spec_.rows();
  const int64_t first = rows - spec_.patches();
  std::vector<int32_t> row_ids;
  std::vector<int32_t> patch_rows;
  for (int64_t view = 0; view < views; ++view) {
    for (int64_t row = 0; row < rows; ++row) {
      row_ids.push_back(static_cast<int32_t>(row));
      if (row >= first) patch_rows.push_back(static_cast<int32_t>(view * rows + row));
    }
  }
  const Tensor x = backend.Embed(table_, backend.Upload(row_ids, {views * rows}));
  backend.AddRows(x, patches, backend.Upload(patch_rows, {patches.rows()}));
  return spec_.embedding_norm ? backend.Norm(x, norm_) : x;
}

// Bilinear between the four places of the table around each patch, as a weighted sum of four
// rows.
Tensor PatchEmbedding::InterpolatePositions(Backend& backend,
                                            std::span<const PreparedImage* const> images) const {
  std::vector<int32_t> places;
  std::vector<float> weights;
  for (const PreparedImage* image : images) {
    const PatchGrid& grid = image->grid;
    for (const auto& [row, col] : WindowOrder(grid, spec_.native->merge)) {
      const Between y = PlaceOf(row, grid.rows, spec_.position_grid);
      const Between x = PlaceOf(col, grid.cols, spec_.position_grid);
      for (const auto& [line, share] :
           {std::pair(y.low, 1 - y.share), std::pair(y.high, y.share)}) {
        places.insert(places.end(),
                      {line * spec_.position_grid + x.low, line * spec_.position_grid + x.high});
        weights.insert(weights.end(), {share * (1 - x.share), share * x.share});
      }
    }
  }
  const int64_t patches = static_cast<int64_t>(places.size()) / 4;
  return backend.WeightedSum(table_, backend.Upload(places, {patches, 4}),
                             backend.Upload(weights, {patches, 4}));
}

}  // namespace tessera
