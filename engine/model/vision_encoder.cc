#include "engine/model/vision_encoder.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/model/rope_tables.h"

namespace tessera {

namespace {

// of a slice: fewer would not pay for reading a layer's weights
constexpr int64_t kMinRows = 256;

// Rows of the hidden states of the images of a batch that become its tokens' features at one
// scale, whose first tile is view `first_view` of an image: scale² after one another for each
// token, where tiles and the rows in them go line by line.
std::vector<int32_t> ScaleRows(const VisionSpec& spec, int scale, int first_view, int images) {
  const int grid = spec.token_grid();
  const int tokens = spec.tokens();
  std::vector<int32_t> rows;
  rows.reserve(static_cast<size_t>(images) * tokens * scale * scale);
  for (int image = 0; image < images; ++image) {
    const int view = image * spec.views() + first_view;
    for (int token = 0; token < tokens; ++token) {
      if (scale == 1) {
        rows.push_back(view * spec.rows() + spec.skip_rows + token);
        continue;
      }
      for (int part = 0; part < scale * scale; ++part) {
        const int y = token / grid * scale + part / scale;
        const int x = token % grid * scale + part % scale;
        const int tile = y / grid * scale + x / grid;
        rows.push_back((view + tile) * spec.rows() + spec.skip_rows + y % grid * grid + x % grid);
      }
    }
  }
  return rows;
}

// Rows of features [images · tokens] in groups of pool², the neighbours that are averaged.
std::vector<int32_t> PoolRows(int grid, int pool, int images) {
  const int side = grid / pool;
  std::vector<int32_t> rows;
  for (int image = 0; image < images; ++image) {
    for (int token = 0; token < side * side; ++token) {
      for (int part = 0; part < pool * pool; ++part) {
        const int y = token / side * pool + part / pool;
        const int x = token % side * pool + part % pool;
        rows.push_back(image * grid * grid + y * grid + x);
      }
    }
  }
  return rows;
}

// The averages of each `size` of the rows: [rows / size, hidden], summed in float32.
Tensor AverageRows(Backend& backend, Tensor x, const std::vector<int32_t>& rows, int size) {
  const int64_t groups = static_cast<int64_t>(rows.size()) / size;
  const std::vector<float> weights(rows.size(), 1.0f / static_cast<float>(size));
  return backend.WeightedSum(x, backend.Upload(rows, {groups, size}),
                             backend.Upload(weights, {groups, size}));
}

}  // namespace

absl::StatusOr<std::unique_ptr<VisionEncoder>> VisionEncoder::Load(const ModelSpec& model,
                                                                   WeightLoader& loader) {
  const VisionSpec& spec = *model.vision;
  RETURN_IF_ERROR(loader.store().CheckHeadDim(spec.hidden / spec.heads));
  const int64_t output_width = model.decoder.hidden;
  std::unique_ptr<VisionEncoder> encoder(new VisionEncoder(spec));
  ASSIGN_OR_RETURN(encoder->embedding_, PatchEmbedding::Load(spec, loader));
  if (spec.native) RETURN_IF_ERROR(encoder->LoadRope(loader.store()));
  for (int i = 0; i < spec.run_layers; ++i) RETURN_IF_ERROR(encoder->LoadLayer(loader, i));
  encoder->pool_ = model.projector.pool;
  const int64_t width = spec.features() / spec.window();
  ASSIGN_OR_RETURN(encoder->projector_,
                   Projector::Load(model.projector, spec.window(), width, output_width, loader));
  TESSERA_CHECK(spec.taps.size() == model.tap_projectors.size());
  for (const ProjectorSpec& tap : model.tap_projectors) {
    ASSIGN_OR_RETURN(encoder->tap_projectors_.emplace_back(),
                     Projector::Load(tap, spec.window(), width, output_width, loader));
  }
  RETURN_IF_ERROR(encoder->LoadEdges(model.projector, output_width, loader));
  encoder->IgnoreUnused(loader);
  return encoder;
}

absl::Status VisionEncoder::LoadLayer(WeightLoader& loader, int index) {
  const VisionNames& names = spec_.names;
  const std::string prefix = spec_.prefix + ExpandName(names.layer, index);
  const int64_t hidden = spec_.hidden;
  const auto norm = [&](const std::string& name) {
    return loader.Norm(prefix + name, hidden, NormKind::kLayerNorm, spec_.norm_epsilon,
                       Bias::kRequired, buffers_);
  };
  std::vector<std::string> qkv;
  for (const std::string& name : names.qkv) qkv.push_back(prefix + name);
  const int64_t each = 3 * hidden / static_cast<int64_t>(qkv.size());
  Layer layer;
  ASSIGN_OR_RETURN(layer.attention_norm, norm(names.attention_norm));
  ASSIGN_OR_RETURN(layer.qkv, loader.Linear(qkv, std::vector<int64_t>(qkv.size(), each), hidden,
                                            Bias::kRequired));
  ASSIGN_OR_RETURN(layer.attention_out, loader.Linear({prefix + names.attention_out}, {hidden},
                                                      hidden, Bias::kRequired));
  ASSIGN_OR_RETURN(layer.ffn_norm, norm(names.ffn_norm));
  ASSIGN_OR_RETURN(layer.ffn_up,
                   loader.Linear({prefix + names.ffn_up}, {spec_.ffn}, hidden, Bias::kRequired));
  ASSIGN_OR_RETURN(layer.ffn_down,
                   loader.Linear({prefix + names.ffn_down}, {hidden}, spec_.ffn, Bias::kRequired));
  layers_.push_back(std::move(layer));
  return absl::OkStatus();
}

// The first half of the pairs rotates by the row, the second by the column, both with the same
// frequencies θ^(-2i/pairs).
absl::Status VisionEncoder::LoadRope(WeightStore& store) {
  const int64_t pairs = spec_.hidden / spec_.heads / 2;
  const int64_t each = pairs / 2;
  const int64_t places = spec_.native->longest_side() / spec_.patch_size;
  std::vector<int32_t> axes;
  std::vector<float> frequencies;
  for (int64_t i = 0; i < pairs; ++i) {
    axes.push_back(i < each ? 0 : 1);
    const float exponent = static_cast<float>(2 * (i % each)) / static_cast<float>(pairs);
    frequencies.push_back(1.0f / std::pow(static_cast<float>(spec_.rope_theta), exponent));
  }
  return LoadRopeTables(places, frequencies, axes, store, buffers_, rope_);
}

absl::Status VisionEncoder::LoadEdges(const ProjectorSpec& projector, int64_t output_width,
                                      WeightLoader& loader) {
  if (projector.edges.empty()) return absl::OkStatus();
  std::vector<float> edges;
  for (const std::string& name : projector.edges) {
    ASSIGN_OR_RETURN(const std::vector<float> row, loader.Floats(name, {1, 1, output_width}));
    edges.insert(edges.end(), row.begin(), row.end());
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer,
                   loader.store().Load({DType::kFloat32, {2, output_width}, edges.data()},
                                       loader.store().activation_dtype()));
  edges_ = buffer->tensor();
  buffers_.push_back(std::move(buffer));
  return absl::OkStatus();
}

void VisionEncoder::IgnoreUnused(WeightLoader& loader) const {
  std::vector<std::string> unused = spec_.names.unused;
  for (int i = spec_.run_layers; i < spec_.layers; ++i) {
    unused.push_back(ExpandName(spec_.names.layer, i));
  }
  for (const auto& [name, tensor] : loader.checkpoint().tensors()) {
    if (name.rfind(spec_.prefix, 0) != 0) continue;
    const std::string rest = name.substr(spec_.prefix.size());
    const auto begins = [&](const std::string& start) { return rest.starts_with(start); };
    if (std::any_of(unused.begin(), unused.end(), begins)) loader.checkpoint().Ignore(name);
  }
}

// -------------------------------------------------------------------------------------------------------------
// forward

int64_t VisionEncoder::Rows(const PreparedImage& image) const {
  return spec_.native ? image.grid.patches() : int64_t{spec_.views()} * spec_.rows();
}

absl::StatusOr<VisionBatch> VisionEncoder::Begin(
    Backend& backend, std::span<const PreparedImage* const> images) const {
  VisionBatch batch;
  batch.images = static_cast<int>(images.size());
  std::vector<int32_t> columns;
  for (const PreparedImage* image : images) {
    const int64_t spans = spec_.native ? 1 : spec_.views();
    const int64_t rows = Rows(*image) / spans;
    batch.max_span = std::max(batch.max_span, rows);
    for (int64_t i = 0; i < spans; ++i) {
      batch.starts.push_back(batch.starts.back() + static_cast<int32_t>(rows));
    }
    if (!spec_.native) continue;
    for (const auto& [row, column] : WindowOrder(image->grid, spec_.native->merge)) {
      batch.positions.push_back(row);
      columns.push_back(column);
    }
  }
  batch.positions.insert(batch.positions.end(), columns.begin(), columns.end());
  const DType dtype = backend.activation_dtype();
  ASSIGN_OR_RETURN(batch.hidden, backend.Allocate(dtype, {batch.rows(), spec_.hidden}));
  ASSIGN_OR_RETURN(batch.qkv, backend.Allocate(dtype, {batch.rows(), int64_t{3} * spec_.hidden}));
  backend.Copy(embedding_->Embed(backend, images), batch.hidden->tensor());
  return batch;
}

AttentionShape VisionEncoder::Attention() const {
  AttentionShape shape;
  shape.heads = shape.kv_heads = spec_.heads;
  shape.head_dim = spec_.hidden / spec_.heads;
  shape.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  return shape;
}

// The first turn: queries, keys and values of the next `count` rows.
void VisionEncoder::ReadRows(Backend& backend, const Layer& layer, const VisionBatch& batch,
                             int64_t count) const {
  const Tensor x = batch.hidden->tensor().Rows(batch.next_row, count);
  const Tensor qkv = backend.Linear(backend.Norm(x, layer.attention_norm), *layer.qkv);
  if (spec_.native) {
    std::vector<int32_t> positions;
    for (int64_t axis = 0; axis < 2; ++axis) {
      const auto begin = batch.positions.begin() + axis * batch.rows() + batch.next_row;
      positions.insert(positions.end(), begin, begin + count);
    }
    backend.ApplyRope(qkv, Attention(), rope_, backend.Upload(positions, {2, count}));
  }
  backend.Copy(qkv, batch.qkv->tensor().Rows(batch.next_row, count));
}

// The second turn: the next `count` rows look at all of their span and pass the FFN.
void VisionEncoder::Attend(Backend& backend, const Layer& layer, const VisionBatch& batch,
                           Tensor starts, int64_t count) const {
  const Tensor x = batch.hidden->tensor().Rows(batch.next_row, count);
  const Tensor attended = backend.FullAttention(batch.qkv->tensor(), Attention(), starts,
                                                batch.max_span, batch.next_row, count);
  const Tensor attention = backend.Linear(attended, *layer.attention_out);
  const Tensor normed =
      backend.AddNorm(x, std::array<ResidualBranch, 1>{attention}, layer.ffn_norm);
  const Tensor up = backend.Linear(normed, *layer.ffn_up, spec_.activation);
  backend.Add(x, backend.Linear(up, *layer.ffn_down));
}

// Of the turn under way.
double VisionEncoder::RowFlops(const VisionBatch& batch) const {
  const double hidden = spec_.hidden;
  if (!batch.attending) return 6 * hidden * hidden;
  double seen = 0;  // rows that a row looks at, on average
  for (size_t i = 0; i + 1 < batch.starts.size(); ++i) {
    seen += std::pow(batch.starts[i + 1] - batch.starts[i], 2);
  }
  seen /= static_cast<double>(batch.rows());
  return 2 * hidden * (hidden + 2 * spec_.ffn) + 4 * hidden * seen;
}

absl::StatusOr<std::unique_ptr<Buffer>> VisionEncoder::Keep(Backend& backend, Tensor x) const {
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> kept, backend.Allocate(x.dtype, {x.rows(), x.cols()}));
  backend.Copy(x, kept->tensor());
  return kept;
}

absl::Status VisionEncoder::EndTurn(Backend& backend, VisionBatch& batch) const {
  batch.next_row = 0;
  batch.attending = !batch.attending;
  if (batch.attending) return absl::OkStatus();
  for (size_t i = 0; i < spec_.taps.size(); ++i) {
    if (spec_.taps[i] != batch.next_layer) continue;
    ASSIGN_OR_RETURN(batch.taps.emplace_back(),
                     Keep(backend, tap_projectors_[i]->Run(backend, batch.hidden->tensor())));
  }
  ++batch.next_layer;
  return absl::OkStatus();
}

absl::StatusOr<double> VisionEncoder::Advance(Backend& backend, VisionBatch& batch,
                                              double flops) const {
  const Tensor starts = backend.Upload(batch.starts, {static_cast<int64_t>(batch.starts.size())});
  double done = 0;
  while (!Done(batch) && (done == 0 || done < flops)) {
    const Layer& layer = layers_[static_cast<size_t>(batch.next_layer)];
    const double row_flops = RowFlops(batch);
    const int64_t left = batch.rows() - batch.next_row;
    const double affordable = (flops - done) / row_flops;
    int64_t count = left;
    if (affordable < static_cast<double>(left)) {
      count = std::min(left, std::max(kMinRows, static_cast<int64_t>(affordable)));
    }
    if (batch.attending) {
      Attend(backend, layer, batch, starts, count);
    } else {
      ReadRows(backend, layer, batch, count);
    }
    done += row_flops * static_cast<double>(count);
    batch.next_row += count;
    if (batch.next_row == batch.rows()) RETURN_IF_ERROR(EndTurn(backend, batch));
  }
  return done;
}

// [images · tokens, features]: each scale's features are written to every scales-th row of a
// tensor of narrow rows, so that, read as wide rows, they stand side by side.
Tensor VisionEncoder::Features(Backend& backend, const VisionBatch& batch) const {
  const int64_t tokens = static_cast<int64_t>(batch.images) * spec_.tokens();
  const int64_t scales = static_cast<int64_t>(spec_.scales.size());
  Tensor wide;
  int first_view = 0;
  for (int64_t i = 0; i < scales; ++i) {
    const int scale = spec_.scales[static_cast<size_t>(i)];
    const std::vector<int32_t> rows = ScaleRows(spec_, scale, first_view, batch.images);
    first_view += scale * scale;
    const Tensor hidden = batch.hidden->tensor();
    const Tensor x =
        scale > 1
            ? AverageRows(backend, hidden, rows, scale * scale)
            : backend.GatherRows(hidden, backend.Upload(rows, {static_cast<int64_t>(rows.size())}));
    if (scales == 1) return x;
    if (wide.empty()) wide = backend.New(x.dtype, {tokens * scales, spec_.hidden});
    std::vector<int32_t> places;
    for (int64_t token = 0; token < tokens; ++token) {
      places.push_back(static_cast<int32_t>(token * scales + i));
    }
    backend.PutRows(wide, x, backend.Upload(places, {tokens}));
  }
  return wide.Reshape({tokens, spec_.features()});
}

// Each image's rows between the two learned ones: [images · n, width] → [images · (n + 2),
// width].
Tensor VisionEncoder::Surround(Backend& backend, Tensor x, int images) const {
  const int64_t rows = x.rows() / images + 2;
  std::vector<int32_t> inside, edges, sides;
  for (int64_t row = 0; row < images * rows; ++row) {
    const bool last = row % rows == rows - 1;
    if (row % rows == 0 || last) {
      edges.push_back(static_cast<int32_t>(row));
      sides.push_back(last ? 1 : 0);
    } else {
      inside.push_back(static_cast<int32_t>(row));
    }
  }
  const auto upload = [&](const std::vector<int32_t>& values) {
    return backend.Upload(values, {static_cast<int64_t>(values.size())});
  };
  const Tensor y = backend.New(x.dtype, {images * rows, x.cols()});
  backend.PutRows(y, x, upload(inside));
  backend.PutRows(y, backend.GatherRows(edges_, upload(sides)), upload(edges));
  return y;
}

absl::StatusOr<std::unique_ptr<Buffer>> VisionEncoder::Finish(Backend& backend,
                                                              VisionBatch& batch) const {
  TESSERA_CHECK(Done(batch));
  Tensor x = batch.hidden->tensor();
  if (!spec_.native) {
    x = Features(backend, batch);
    if (pool_ > 1) {
      const std::vector<int32_t> rows = PoolRows(spec_.token_grid(), pool_, batch.images);
      x = AverageRows(backend, x, rows, pool_ * pool_);
    }
  }
  x = projector_->Run(backend, x);
  if (!edges_.empty()) x = Surround(backend, x, batch.images);
  if (batch.taps.empty()) return Keep(backend, x);
  const int64_t tokens = x.rows();
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> all,
                   backend.Allocate(x.dtype, {(1 + taps()) * tokens, x.cols()}));
  backend.Copy(x, all->tensor().Rows(0, tokens));
  for (int64_t i = 0; i < taps(); ++i) {
    backend.Copy(batch.taps[static_cast<size_t>(i)]->tensor(),
                 all->tensor().Rows((i + 1) * tokens, tokens));
  }
  return all;
}

}  // namespace tessera
