#include "tests/testing/tiny_decoder.h"

#include <algorithm>
#include <cmath>

#include "tests/testing/backend_test.h"
#include "tests/testing/safetensors_writer.h"

namespace tessera::testing {
namespace {

using reference::Values;

void AddScaled(const Values& delta, double scale, Values& x) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += scale * delta[i];
}

std::vector<std::string> Prefixed(const std::string& prefix, std::vector<std::string> names) {
  for (std::string& name : names) name.insert(0, prefix);
  return names;
}

// Which choices [T, k] find a place: those of one group take places in the order of the choices,
// then of the rows.
std::vector<bool> Kept(const std::vector<int32_t>& chosen, int64_t choices, int64_t experts,
                       int64_t prompt_rows, const ExpertCapacity& capacity) {
  std::vector<bool> kept(chosen.size(), false);
  const int64_t rows = static_cast<int64_t>(chosen.size()) / choices;
  for (int64_t row = 0; row < rows; ++row) {
    const bool prompt = row < prompt_rows;
    const int64_t tokens = prompt ? prompt_rows : 1;
    const double share = static_cast<double>(tokens) / static_cast<double>(experts);
    const double places =
        std::max(std::ceil(share * capacity.factor * static_cast<double>(choices)),
                 static_cast<double>(capacity.minimum));
    for (int64_t j = 0; j < choices; ++j) {
      int64_t before = 0;
      for (int64_t other = prompt ? 0 : row; other < (prompt ? prompt_rows : row + 1); ++other) {
        for (int64_t i = 0; i < choices; ++i) {
          const bool earlier = i < j || (i == j && other < row);
          const bool same = chosen[other * choices + i] == chosen[row * choices + j];
          if (earlier && same) ++before;
        }
      }
      kept[row * choices + j] = static_cast<double>(before) < places;
    }
  }
  return kept;
}

}  // namespace

TinyDecoder::TinyDecoder(const DecoderSpec& spec, int64_t vocabulary)
    : spec_(spec), vocabulary_(vocabulary) {
  AddMatrix(spec.names.embedding, vocabulary, spec.hidden, false);
  for (int layer = 0; layer < spec.layers; ++layer) AddLayer(layer);
  AddNorm(spec.names.final_norm);
  if (!spec.tied_head) AddMatrix(spec.names.head, vocabulary, spec.hidden, false);
}

void TinyDecoder::AddVector(const std::string& name, int64_t count, float offset) {
  Weights weights{
      {count}, RandomFloats(count, static_cast<uint32_t>(tensors_.size()), 0.3f, DType::kFloat32)};
  for (float& value : weights.values) value += offset;
  tensors_[name] = std::move(weights);
}

void TinyDecoder::AddWeights(const std::string& name, int64_t out, int64_t in) {
  const float scale = 2.0f / std::sqrt(static_cast<float>(in));
  tensors_[name] = {
      {out, in},
      RandomFloats(out * in, static_cast<uint32_t>(tensors_.size()), scale, DType::kFloat32)};
}

void TinyDecoder::AddMatrix(const std::string& name, int64_t out, int64_t in, bool biased) {
  AddWeights(name + ".weight", out, in);
  if (biased) AddVector(name + ".bias", out, 0);
}

void TinyDecoder::AddNorm(const std::string& name) {
  AddVector(name + ".weight", spec_.hidden, 1);
  if (spec_.norm_bias) AddVector(name + ".bias", spec_.hidden, 0);
}

void TinyDecoder::AddFfn(const std::string& prefix) {
  for (const std::string& up : spec_.names.ffn_up) {
    AddMatrix(prefix + up, spec_.ffn, spec_.hidden, spec_.ffn_bias);
  }
  AddMatrix(prefix + spec_.names.ffn_down, spec_.hidden, spec_.ffn, spec_.ffn_bias);
}

void TinyDecoder::AddLoraFfn(int layer) {
  const DecoderNames& names = spec_.names;
  const std::string prefix = ExpandName(names.layer, layer);
  const int64_t rank = spec_.lora->rank;
  AddFfn(prefix + names.mlp);
  AddMatrix(prefix + names.router, spec_.experts[layer], spec_.hidden, spec_.router_bias);
  for (int e = 0; e < spec_.experts[layer]; ++e) {
    for (const std::string& up : names.lora_up) {
      AddWeights(prefix + ExpandName(up, layer, e) + "lora_A", rank, spec_.hidden);
      AddWeights(prefix + ExpandName(up, layer, e) + "lora_B", spec_.ffn, rank);
    }
    AddWeights(prefix + ExpandName(names.lora_down, layer, e) + "lora_A", rank, spec_.ffn);
    AddWeights(prefix + ExpandName(names.lora_down, layer, e) + "lora_B", spec_.hidden, rank);
  }
}

void TinyDecoder::AddLayer(int layer) {
  const DecoderNames& names = spec_.names;
  const std::string prefix = ExpandName(names.layer, layer);
  const int64_t query = int64_t{spec_.heads} * spec_.head_dim;
  const int64_t kv = int64_t{spec_.kv_heads} * spec_.head_dim;
  AddNorm(prefix + names.attention_norm);
  if (spec_.residual == ResidualLayout::kSequential) AddNorm(prefix + names.ffn_norm);
  if (names.qkv.size() == 1) {
    AddMatrix(prefix + names.qkv[0], query + 2 * kv, spec_.hidden, spec_.qkv_bias);
  } else {
    AddMatrix(prefix + names.qkv[0], query, spec_.hidden, spec_.qkv_bias);
    AddMatrix(prefix + names.qkv[1], kv, spec_.hidden, spec_.qkv_bias);
    AddMatrix(prefix + names.qkv[2], kv, spec_.hidden, spec_.qkv_bias);
  }
  AddMatrix(prefix + names.attention_out, spec_.hidden, query, spec_.attention_out_bias);
  const int experts = spec_.experts[layer];
  if (experts == 0) return AddFfn(prefix + names.mlp);
  if (spec_.lora) return AddLoraFfn(layer);
  AddMatrix(prefix + names.router, experts, spec_.hidden, false);
  for (int e = 0; e < experts; ++e) AddFfn(prefix + ExpandName(names.expert, layer, e));
  if (!spec_.residual_experts) return;
  AddFfn(prefix + names.residual_mlp);
  AddMatrix(prefix + names.residual_mix, 2, spec_.hidden, true);
}

void TinyDecoder::Write(const std::filesystem::path& directory) const {
  SafetensorsWriter writer;
  for (const auto& [name, weights] : tensors_) writer.AddFloats(name, weights.dims, weights.values);
  writer.Write(directory / "model.safetensors");
}

// ------------------------------------------------------------------------------------------------------------
// computed

Values TinyDecoder::Of(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? Values() : Widen(found->second.values);
}

Values TinyDecoder::Linear(const Values& x, const std::vector<std::string>& names,
                           int64_t in) const {
  Values weight, bias;
  for (const std::string& name : names) {
    const Values one = Of(name + ".weight");
    const Values one_bias = Of(name + ".bias");
    weight.insert(weight.end(), one.begin(), one.end());
    bias.insert(bias.end(), one_bias.begin(), one_bias.end());
  }
  const int64_t out = static_cast<int64_t>(weight.size()) / in;
  return reference::Linear(x, weight, bias, in, out, Activation::kNone);
}

Values TinyDecoder::Norm(const Values& x, const std::string& name) const {
  return reference::Norm(x, Of(name + ".weight"), Of(name + ".bias"), spec_.norm,
                         spec_.norm_epsilon);
}

Values TinyDecoder::Attention(const Values& normed, int layer, int64_t prompt_rows) const {
  const std::string prefix = ExpandName(spec_.names.layer, layer);
  const int64_t dim = spec_.head_dim;
  const int64_t heads = spec_.heads;
  const int64_t kv_heads = spec_.kv_heads;
  const int64_t width = (heads + 2 * kv_heads) * dim;
  const int64_t pairs = spec_.rotary_dims / 2;
  const int64_t rows = static_cast<int64_t>(normed.size()) / spec_.hidden;
  Values qkv = Linear(normed, Prefixed(prefix, spec_.names.qkv), spec_.hidden);
  for (int64_t row = 0; row < rows; ++row) {
    Values cosine, sine;
    for (int64_t i = 0; i < pairs; ++i) {
      const double angle =
          static_cast<double>(row) * std::pow(spec_.rope_theta, -2.0 * i / spec_.rotary_dims);
      cosine.push_back(std::cos(angle));
      sine.push_back(std::sin(angle));
    }
    for (int64_t h = 0; h < heads + kv_heads; ++h) {
      reference::Rotate(&qkv[row * width + h * dim], pairs, cosine.data(), sine.data());
    }
  }
  Values attended(rows * heads * dim);
  for (int64_t h = 0; h < heads; ++h) {
    const int64_t kv_head = h / (heads / kv_heads);
    Values keys, values;
    for (int64_t row = 0; row < rows; ++row) {
      const double* key = &qkv[row * width + (heads + kv_head) * dim];
      keys.insert(keys.end(), key, key + dim);
      values.insert(values.end(), key + kv_heads * dim, key + (kv_heads + 1) * dim);
    }
    for (int64_t row = 0; row < rows; ++row) {
      const bool windowed = spec_.sliding_window > 0 && row < prompt_rows;
      const int64_t first = windowed ? std::max<int64_t>(0, row - spec_.sliding_window) : 0;
      const Values y = reference::AttendOne(&qkv[row * width + h * dim], keys, values, dim,
                                            1 / std::sqrt(static_cast<double>(dim)), first, row);
      std::copy(y.begin(), y.end(), attended.begin() + (row * heads + h) * dim);
    }
  }
  return Linear(attended, {prefix + spec_.names.attention_out}, heads * dim);
}

Values TinyDecoder::Ffn(const Values& normed, const std::string& prefix) const {
  Values inner = Linear(normed, Prefixed(prefix, spec_.names.ffn_up), spec_.hidden);
  if (spec_.gated_ffn) {
    inner = reference::GatedActivate(inner, spec_.ffn, spec_.activation);
  } else {
    for (double& value : inner) value = reference::Activate(spec_.activation, value);
  }
  return Linear(inner, {prefix + spec_.names.ffn_down}, spec_.ffn);
}

Values TinyDecoder::Experts(const Values& normed, int layer, int64_t prompt_rows) const {
  const std::string prefix = ExpandName(spec_.names.layer, layer);
  const int64_t experts = spec_.experts[layer];
  const int64_t choices = spec_.router.experts_per_token;
  const reference::RoutingValues routing =
      reference::Route(normed, Of(prefix + spec_.names.router + ".weight"), {}, {}, spec_.hidden,
                       experts, spec_.router);
  std::vector<bool> kept(routing.experts.size(), true);
  if (spec_.capacity) {
    kept = Kept(routing.experts, choices, experts, prompt_rows, *spec_.capacity);
  }
  std::vector<Values> outputs;
  for (int e = 0; e < experts; ++e) {
    outputs.push_back(Ffn(normed, prefix + ExpandName(spec_.names.expert, layer, e)));
  }
  Values sum(normed.size(), 0.0);
  const int64_t rows = static_cast<int64_t>(normed.size()) / spec_.hidden;
  for (int64_t row = 0; row < rows; ++row) {
    double total = 0;  // of what is kept
    for (int64_t j = row * choices; j < (row + 1) * choices; ++j) {
      if (kept[j]) total += routing.weights[j];
    }
    for (int64_t j = row * choices; j < (row + 1) * choices; ++j) {
      if (!kept[j]) continue;
      const double weight = routing.weights[j] / (spec_.router.renormalize ? total : 1.0);
      for (int64_t i = row * spec_.hidden; i < (row + 1) * spec_.hidden; ++i) {
        sum[i] += weight * outputs[routing.experts[j]][i];
      }
    }
  }
  return sum;
}

// Experts chosen once; each of the three matrices has its own beside it.
Values TinyDecoder::LoraFfn(const Values& normed, int layer) const {
  const DecoderNames& names = spec_.names;
  const std::string prefix = ExpandName(names.layer, layer);
  const int64_t experts = spec_.experts[layer];
  const reference::RoutingValues routing = reference::Route(
      normed, Of(prefix + names.router + ".weight"), Of(prefix + names.router + ".bias"), {},
      spec_.hidden, experts, spec_.router);
  Values gates(routing.logits.size(), 0.0);
  for (size_t i = 0; i < routing.experts.size(); ++i) {
    const size_t row = i / spec_.router.experts_per_token;
    gates[row * experts + routing.experts[i]] = routing.weights[i];
  }
  const auto linear = [&](const Values& x, const std::string& matrix, const std::string& expert,
                          int64_t in, int64_t out) {
    std::vector<Values> a, b;
    for (int e = 0; e < experts; ++e) {
      a.push_back(Of(prefix + ExpandName(expert, layer, e) + "lora_A"));
      b.push_back(Of(prefix + ExpandName(expert, layer, e) + "lora_B"));
    }
    return reference::AddLora(Linear(x, {prefix + names.mlp + matrix}, in), x, a, b, gates,
                              spec_.lora->scale, in, spec_.lora->rank, out);
  };
  Values inner = linear(normed, names.ffn_up[0], names.lora_up[0], spec_.hidden, spec_.ffn);
  const Values up = linear(normed, names.ffn_up[1], names.lora_up[1], spec_.hidden, spec_.ffn);
  for (size_t i = 0; i < inner.size(); ++i) {
    inner[i] = reference::Activate(spec_.activation, inner[i]) * up[i];
  }
  return linear(inner, names.ffn_down, names.lora_down, spec_.ffn, spec_.hidden);
}

Values TinyDecoder::Mlp(const Values& normed, int layer, int64_t prompt_rows) const {
  const std::string prefix = ExpandName(spec_.names.layer, layer);
  if (spec_.experts[layer] == 0) return Ffn(normed, prefix + spec_.names.mlp);
  if (spec_.lora) return LoraFfn(normed, layer);
  Values routed = Experts(normed, layer, prompt_rows);
  if (!spec_.residual_experts) return routed;
  const Values dense = Ffn(normed, prefix + spec_.names.residual_mlp);
  const Values mix = Linear(normed, {prefix + spec_.names.residual_mix}, spec_.hidden);
  for (size_t i = 0; i < routed.size(); ++i) {
    const size_t row = i / spec_.hidden;
    const double share = 1 / (1 + std::exp(mix[2 * row + 1] - mix[2 * row]));
    routed[i] = share * routed[i] + (1 - share) * dense[i];
  }
  return routed;
}

Values TinyDecoder::Logits(const std::vector<int32_t>& ids, int64_t prompt_rows,
                           bool has_images) const {
  const Values table = Of(spec_.names.embedding + ".weight");
  Values x;
  for (size_t row = 0; row < ids.size(); ++row) {
    const bool scaled =
        spec_.scale_prompts_with_images || !has_images || static_cast<int64_t>(row) >= prompt_rows;
    for (int64_t i = 0; i < spec_.hidden; ++i) {
      x.push_back(table[ids[row] * spec_.hidden + i] * (scaled ? spec_.embedding_scale : 1.0));
    }
  }
  for (int layer = 0; layer < spec_.layers; ++layer) {
    const std::string prefix = ExpandName(spec_.names.layer, layer);
    const Values normed = Norm(x, prefix + spec_.names.attention_norm);
    const bool parallel = spec_.residual == ResidualLayout::kParallel;
    const Values attended = Attention(normed, layer, prompt_rows);
    AddScaled(attended, spec_.branch_scale, x);
    const Values ffn_in = parallel ? normed : Norm(x, prefix + spec_.names.ffn_norm);
    AddScaled(Mlp(ffn_in, layer, prompt_rows), spec_.branch_scale, x);
  }
  Values last = Norm(x, spec_.names.final_norm);
  for (double& value : last) value *= spec_.head_scale;
  return Linear(last, {spec_.tied_head ? spec_.names.embedding : spec_.names.head}, spec_.hidden);
}

}  // namespace tessera::testing
