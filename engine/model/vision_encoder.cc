#include "engine/model/vision_encoder.h"

#include <fmt/format.h>

#include <cmath>

#include "engine/check.h"
#include "engine/status.h"

namespace tessera {

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
  projector_activation_ = projector.activation;
  int64_t width = spec_.hidden;
  for (const std::string& name : projector.layers) {
    ASSIGN_OR_RETURN(std::unique_ptr<PackedLinear> layer,
                     loader.Linear({name}, {output_width}, width, Bias::kRequired));
    projector_.push_back(std::move(layer));
    width = output_width;
  }
  return absl::OkStatus();
}

// Layers behind the selected one, the final norm and the old buffer of position ids are in the files, but not computed.
void VisionEncoder::IgnoreUnused(WeightLoader& loader) const {
  for (const auto& [name, tensor] : loader.checkpoint().tensors()) {
    if (name.rfind(spec_.prefix, 0) != 0) continue;
    const std::string rest = name.substr(spec_.prefix.size());
    bool unused = rest.rfind("post_layernorm.", 0) == 0 || rest == "embeddings.position_ids";
    for (int i = spec_.run_layers; i < spec_.layers; ++i) {
      unused = unused || rest.rfind(fmt::format("encoder.layers.{}.", i), 0) == 0;
    }
    if (unused) loader.checkpoint().Ignore(name);
  }
}

absl::StatusOr<VisionBatch> VisionEncoder::Begin(
    std::span<const std::vector<float>* const> patches) {
  const int64_t pictures = static_cast<int64_t>(patches.size());
  const int64_t per_picture = spec_.patches();
  const int64_t rows = spec_.rows();
  const int64_t first = rows - per_picture;
  VisionBatch batch;
  batch.pictures = static_cast<int>(pictures);
  ASSIGN_OR_RETURN(batch.hidden, backend_.Allocate(backend_.activation_dtype(),
                                                   {pictures * rows, spec_.hidden}));

  std::vector<float> pixels;
  std::vector<int32_t> row_ids;
  std::vector<int32_t> patch_rows;
  for (int64_t picture = 0; picture < pictures; ++picture) {
    const std::vector<float>& source = *patches[static_cast<size_t>(picture)];
    TESSERA_CHECK(static_cast<int64_t>(source.size()) == per_picture * patch_embedding_->in);
    pixels.insert(pixels.end(), source.begin(), source.end());
    for (int64_t row = 0; row < rows; ++row) {
      row_ids.push_back(static_cast<int32_t>(row));
      if (row >= first) patch_rows.push_back(static_cast<int32_t>(picture * rows + row));
    }
  }
  Tensor embedded = backend_.Linear(
      backend_.UploadActivations(pixels, {pictures * per_picture, patch_embedding_->in}),
      *patch_embedding_);
  Tensor x = backend_.Embed(row_embedding_, backend_.Upload(row_ids, {pictures * rows}));
  backend_.AddRows(x, embedded, backend_.Upload(patch_rows, {pictures * per_picture}));
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
  for (int i = 0; i <= batch.pictures; ++i) starts.push_back(i * spec_.rows());
  const Tensor spans = backend_.Upload(starts, {batch.pictures + 1});
  for (; layers > 0 && batch.next_layer < spec_.run_layers; --layers, ++batch.next_layer) {
    RunLayer(layers_[static_cast<size_t>(batch.next_layer)], batch.hidden->tensor(), spans);
  }
}

absl::StatusOr<std::unique_ptr<Buffer>> VisionEncoder::Finish(VisionBatch& batch) {
  TESSERA_CHECK(batch.next_layer == spec_.run_layers);
  std::vector<int32_t> kept;
  for (int picture = 0; picture < batch.pictures; ++picture) {
    for (int row = spec_.skip_rows; row < spec_.rows(); ++row) {
      kept.push_back(picture * spec_.rows() + row);
    }
  }
  Tensor x = backend_.GatherRows(batch.hidden->tensor(),
                                 backend_.Upload(kept, {static_cast<int64_t>(kept.size())}));
  for (size_t i = 0; i < projector_.size(); ++i) {
    const bool last = i + 1 == projector_.size();
    x = backend_.Linear(x, *projector_[i], last ? Activation::kNone : projector_activation_);
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> features,
                   backend_.Allocate(x.dtype, {x.rows(), x.cols()}));
  backend_.Copy(x, features->tensor());
  return features;
}

double VisionEncoder::LayerFlops() const {
  const double rows = spec_.rows();
  const double hidden = spec_.hidden;
  return 2 * rows * hidden * (4 * hidden + 2 * spec_.ffn) + 4 * rows * rows * hidden;
}

}  // namespace tessera
