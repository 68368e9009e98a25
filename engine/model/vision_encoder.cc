#include "engine/model/vision_encoder.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "engine/check.h"
#include "engine/status.h"

namespace tessera {

namespace {

// Rows of the hidden states of the pictures of a batch that become its tokens' features at one scale, whose first tile is view
// `first_view` of a picture: scale² after one another for each token, where tiles and the rows in them go line by line.
std::vector<int32_t> ScaleRows(const VisionSpec& spec, int scale, int first_view, int pictures) {
  const int grid = spec.token_grid();
  const int tokens = spec.tokens();
  std::vector<int32_t> rows;
  rows.reserve(static_cast<size_t>(pictures) * tokens * scale * scale);
  for (int picture = 0; picture < pictures; ++picture) {
    const int view = picture * spec.views() + first_view;
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

// Rows of features [pictures · tokens] in groups of pool², the neighbours that are averaged.
std::vector<int32_t> PoolRows(int grid, int pool, int pictures) {
  const int side = grid / pool;
  std::vector<int32_t> rows;
  for (int picture = 0; picture < pictures; ++picture) {
    for (int token = 0; token < side * side; ++token) {
      for (int part = 0; part < pool * pool; ++part) {
        const int y = token / side * pool + part / pool;
        const int x = token % side * pool + part % pool;
        rows.push_back(picture * grid * grid + y * grid + x);
      }
    }
  }
  return rows;
}

// The averages of each `size` rows: [T · size, hidden] → [T, hidden], summed in float32.
Tensor AverageGroups(Backend& backend, Tensor x, int size) {
  const int64_t groups = x.rows() / size;
  std::vector<int32_t> places(static_cast<size_t>(x.rows()));
  std::iota(places.begin(), places.end(), 0);
  const std::vector<float> weights(places.size(), 1.0f / static_cast<float>(size));
  Routing equal;
  equal.places = backend.Upload(places, {groups, size});
  equal.weights = backend.Upload(weights, {groups, size});
  return backend.Combine(x, equal);
}

}  // namespace

absl::StatusOr<std::unique_ptr<VisionEncoder>> VisionEncoder::Load(const VisionSpec& spec,
                                                                   const ProjectorSpec& projector,
                                                                   int64_t output_width,
                                                                   WeightLoader& loader) {
  std::unique_ptr<VisionEncoder> encoder(new VisionEncoder(spec, loader.backend()));
  RETURN_IF_ERROR(encoder->LoadEmbedding(loader));
  for (int i = 0; i < spec.run_layers; ++i) RETURN_IF_ERROR(encoder->LoadLayer(loader, i));
  RETURN_IF_ERROR(encoder->LoadProjector(projector, output_width, loader));
  encoder->IgnoreUnused(loader);
  return encoder;
}

absl::Status VisionEncoder::LoadEmbedding(WeightLoader& loader) {
  const std::string prefix = spec_.prefix + "embeddings.";
  const int64_t patch = spec_.patch_size;
  const int64_t hidden = spec_.hidden;

  // The convolution's stride is its size, so it is a matrix product over cut patches.
  LinearWeights convolution;
  ASSIGN_OR_RETURN(HostTensor weight, loader.Take(prefix + "patch_embedding.weight",
                                                               {hidden, 3, patch, patch}));
  weight.dims = {hidden, 3 * patch * patch};
  convolution.weights.push_back(weight);
  if (spec_.patch_bias) {
    ASSIGN_OR_RETURN(HostTensor bias,
                     loader.Take(prefix + "patch_embedding.bias", {hidden}));
    convolution.biases.push_back(bias);
  }
  ASSIGN_OR_RETURN(patch_embedding_, loader.backend().PackLinear(convolution));

  ASSIGN_OR_RETURN(std::vector<float> rows, loader.Floats(prefix + "position_embedding.weight",
                                                          {spec_.rows(), hidden}));
  if (spec_.class_token) {
    ASSIGN_OR_RETURN(const std::vector<float> token,
                     loader.Floats(prefix + "class_embedding", {hidden}));
    for (int64_t i = 0; i < hidden; ++i) rows[static_cast<size_t>(i)] += token[static_cast<size_t>(i)];
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer,
                   loader.backend().Load({DType::kFloat32, {spec_.rows(), hidden}, rows.data()},
                                         loader.backend().activation_dtype()));
  row_embedding_ = buffer->tensor();
  buffers_.push_back(std::move(buffer));
  if (spec_.embedding_norm) {
    ASSIGN_OR_RETURN(embedding_norm_,
                     loader.Norm(spec_.prefix + "pre_layrnorm", hidden, NormKind::kLayerNorm,
                                 spec_.norm_epsilon, Bias::kRequired, buffers_));
  }
  return absl::OkStatus();
}

absl::Status VisionEncoder::LoadLayer(WeightLoader& loader, int index) {
  const std::string prefix = fmt::format("{}encoder.layers.{}.", spec_.prefix, index);
  const std::string attention = prefix + "self_attn.";
  const int64_t hidden = spec_.hidden;
  Layer layer;
  ASSIGN_OR_RETURN(layer.attention_norm,
                   loader.Norm(prefix + "layer_norm1", hidden, NormKind::kLayerNorm,
                               spec_.norm_epsilon, Bias::kRequired, buffers_));
  ASSIGN_OR_RETURN(layer.qkv,
                   loader.Linear({attention + "q_proj", attention + "k_proj", attention + "v_proj"},
                                 {hidden, hidden, hidden}, hidden, Bias::kRequired));
  ASSIGN_OR_RETURN(layer.attention_out,
                   loader.Linear({attention + "out_proj"}, {hidden}, hidden, Bias::kRequired));
  ASSIGN_OR_RETURN(layer.ffn_norm,
                   loader.Norm(prefix + "layer_norm2", hidden, NormKind::kLayerNorm,
                               spec_.norm_epsilon, Bias::kRequired, buffers_));
  ASSIGN_OR_RETURN(layer.ffn_up,
                   loader.Linear({prefix + "mlp.fc1"}, {spec_.ffn}, hidden, Bias::kRequired));
  ASSIGN_OR_RETURN(layer.ffn_down,
                   loader.Linear({prefix + "mlp.fc2"}, {hidden}, spec_.ffn, Bias::kRequired));
  layers_.push_back(std::move(layer));
  return absl::OkStatus();
}

absl::Status VisionEncoder::LoadProjector(const ProjectorSpec& projector, int64_t output_width,
                                          WeightLoader& loader) {
  pool_ = projector.pool;
  projector_activation_ = projector.activation;
  int64_t width = spec_.features();
  for (const std::string& name : projector.layers) {
    ASSIGN_OR_RETURN(std::unique_ptr<PackedLinear> layer,
                     loader.Linear({name}, {output_width}, width,
                                   projector.bias ? Bias::kRequired : Bias::kNone));
    projector_.push_back(std::move(layer));
    width = output_width;
  }
  if (projector.edges.empty()) return absl::OkStatus();
  std::vector<float> edges;
  for (const std::string& name : projector.edges) {
    ASSIGN_OR_RETURN(const std::vector<float> row, loader.Floats(name, {1, 1, output_width}));
    edges.insert(edges.end(), row.begin(), row.end());
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer,
                   loader.backend().Load({DType::kFloat32, {2, output_width}, edges.data()},
                                         loader.backend().activation_dtype()));
  edges_ = buffer->tensor();
  buffers_.push_back(std::move(buffer));
  return absl::OkStatus();
}

// Layers behind the selected one, the final norm, SigLIP's pooling head and the old buffer of position ids are in the files, but not
// computed.
void VisionEncoder::IgnoreUnused(WeightLoader& loader) const {
  for (const auto& [name, tensor] : loader.checkpoint().tensors()) {
    if (name.rfind(spec_.prefix, 0) != 0) continue;
    const std::string rest = name.substr(spec_.prefix.size());
    bool unused = rest.starts_with("post_layernorm.") || rest.starts_with("head.") ||
                  rest == "embeddings.position_ids";
    for (int i = spec_.run_layers; i < spec_.layers; ++i) {
      unused = unused || rest.starts_with(fmt::format("encoder.layers.{}.", i));
    }
    if (unused) loader.checkpoint().Ignore(name);
  }
}

absl::StatusOr<VisionBatch> VisionEncoder::Begin(
    std::span<const std::vector<float>* const> patches) {
  const int64_t per_view = spec_.patches();
  const int64_t rows = spec_.rows();
  const int64_t first = rows - per_view;
  VisionBatch batch;
  batch.pictures = static_cast<int>(patches.size());
  const int64_t views = static_cast<int64_t>(batch.pictures) * spec_.views();
  ASSIGN_OR_RETURN(batch.hidden, backend_.Allocate(backend_.activation_dtype(),
                                                   {views * rows, spec_.hidden}));

  std::vector<float> pixels;
  for (const std::vector<float>* source : patches) {
    TESSERA_CHECK(static_cast<int64_t>(source->size()) ==
                  spec_.views() * per_view * patch_embedding_->in);
    pixels.insert(pixels.end(), source->begin(), source->end());
  }
  std::vector<int32_t> row_ids;
  std::vector<int32_t> patch_rows;
  for (int64_t view = 0; view < views; ++view) {
    for (int64_t row = 0; row < rows; ++row) {
      row_ids.push_back(static_cast<int32_t>(row));
      if (row >= first) patch_rows.push_back(static_cast<int32_t>(view * rows + row));
    }
  }
  Tensor embedded = backend_.Linear(
      backend_.UploadActivations(pixels, {views * per_view, patch_embedding_->in}),
      *patch_embedding_);
  Tensor x = backend_.Embed(row_embedding_, backend_.Upload(row_ids, {views * rows}));
  backend_.AddRows(x, embedded, backend_.Upload(patch_rows, {views * per_view}));
  if (spec_.embedding_norm) x = backend_.Norm(x, embedding_norm_);
  backend_.Copy(x, batch.hidden->tensor());
  return batch;
}

void VisionEncoder::RunLayer(const Layer& layer, Tensor x, Tensor starts) {
  AttentionShape shape;
  shape.heads = shape.kv_heads = spec_.heads;
  shape.head_dim = spec_.hidden / spec_.heads;
  shape.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));

  const Tensor qkv = backend_.Linear(backend_.Norm(x, layer.attention_norm), *layer.qkv);
  const Tensor attended = backend_.FullAttention(qkv, shape, starts, spec_.rows());
  const Tensor attention = backend_.Linear(attended, *layer.attention_out);
  const Tensor normed = backend_.AddNorm(x, {&attention, 1}, layer.ffn_norm);
  const Tensor up = backend_.Linear(normed, *layer.ffn_up, spec_.activation);
  backend_.Add(x, backend_.Linear(up, *layer.ffn_down));
}

void VisionEncoder::Advance(VisionBatch& batch, int layers) {
  std::vector<int32_t> starts;
  const int views = batch.pictures * spec_.views();
  for (int i = 0; i <= views; ++i) starts.push_back(i * spec_.rows());
  const Tensor spans = backend_.Upload(starts, {views + 1});
  for (; layers > 0 && batch.next_layer < spec_.run_layers; --layers, ++batch.next_layer) {
    RunLayer(layers_[static_cast<size_t>(batch.next_layer)], batch.hidden->tensor(), spans);
  }
}

// [pictures · tokens, features]: each scale's features are written to every scales-th row of a tensor of narrow rows, so that, read as
// wide rows, they stand side by side.
Tensor VisionEncoder::Features(const VisionBatch& batch) {
  const int64_t tokens = static_cast<int64_t>(batch.pictures) * spec_.tokens();
  const int64_t scales = static_cast<int64_t>(spec_.scales.size());
  Tensor wide;
  int first_view = 0;
  for (int64_t i = 0; i < scales; ++i) {
    const int scale = spec_.scales[static_cast<size_t>(i)];
    const std::vector<int32_t> rows = ScaleRows(spec_, scale, first_view, batch.pictures);
    first_view += scale * scale;
    Tensor x = backend_.GatherRows(batch.hidden->tensor(),
                                   backend_.Upload(rows, {static_cast<int64_t>(rows.size())}));
    if (scale > 1) x = AverageGroups(backend_, x, scale * scale);
    if (scales == 1) return x;
    if (wide.empty()) wide = backend_.New(x.dtype, {tokens * scales, spec_.hidden});
    std::vector<int32_t> places;
    for (int64_t token = 0; token < tokens; ++token) {
      places.push_back(static_cast<int32_t>(token * scales + i));
    }
    backend_.PutRows(wide, x, backend_.Upload(places, {tokens}));
  }
  return wide.Reshape({tokens, spec_.features()});
}

// Each picture's rows between the two learned ones: [pictures · n, width] → [pictures · (n + 2), width].
Tensor VisionEncoder::Surround(Tensor x, int pictures) {
  const int64_t rows = x.rows() / pictures + 2;
  std::vector<int32_t> inside, edges, sides;
  for (int64_t row = 0; row < pictures * rows; ++row) {
    const bool last = row % rows == rows - 1;
    if (row % rows == 0 || last) {
      edges.push_back(static_cast<int32_t>(row));
      sides.push_back(last ? 1 : 0);
    } else {
      inside.push_back(static_cast<int32_t>(row));
    }
  }
  const auto upload = [&](const std::vector<int32_t>& values) {
    return backend_.Upload(values, {static_cast<int64_t>(values.size())});
  };
  const Tensor y = backend_.New(x.dtype, {pictures * rows, x.cols()});
  backend_.PutRows(y, x, upload(inside));
  backend_.PutRows(y, backend_.GatherRows(edges_, upload(sides)), upload(edges));
  return y;
}

absl::StatusOr<std::unique_ptr<Buffer>> VisionEncoder::Finish(VisionBatch& batch) {
  TESSERA_CHECK(batch.next_layer == spec_.run_layers);
  Tensor x = Features(batch);
  if (pool_ > 1) {
    const std::vector<int32_t> rows = PoolRows(spec_.token_grid(), pool_, batch.pictures);
    x = backend_.GatherRows(x, backend_.Upload(rows, {static_cast<int64_t>(rows.size())}));
    x = AverageGroups(backend_, x, pool_ * pool_);
  }
  for (size_t i = 0; i < projector_.size(); ++i) {
    const bool last = i + 1 == projector_.size();
    x = backend_.Linear(x, *projector_[i], last ? Activation::kNone : projector_activation_);
  }
  if (!edges_.empty()) x = Surround(x, batch.pictures);
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> features,
                   backend_.Allocate(x.dtype, {x.rows(), x.cols()}));
  backend_.Copy(x, features->tensor());
  return features;
}

double VisionEncoder::LayerFlops() const {
  const double rows = spec_.rows();
  const double hidden = spec_.hidden;
  return spec_.views() *
         (2 * rows * hidden * (4 * hidden + 2 * spec_.ffn) + 4 * rows * rows * hidden);
}

}  // namespace tessera
