// A model as data: numbers, enums and tensor names that an architecture (arch/<name>.cc) reads from
// config.json. The mathematics asks for these, never for a model's name.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/checkpoint/checkpoint_part.h"
#include "engine/image/image_processor.h"
#include "engine/image/native_size.h"
#include "engine/prompt/prompt_template.h"
#include "engine/tokenizer/tokenizer.h"

namespace tessera {

// How one tensor name becomes many: "{layer}" and "{expert}" are replaced by numbers.
std::string ExpandName(std::string pattern, int layer, int expert = 0);

// Tensor names of a vision transformer below its prefix, without ".weight" and ".bias". Lists are
// stacked in order.
struct VisionNames {
  std::string patch_embedding = "embeddings.patch_embedding";
  std::string class_embedding = "embeddings.class_embedding";
  std::string position_embedding = "embeddings.position_embedding";
  std::string embedding_norm = "pre_layrnorm";
  std::string layer = "encoder.layers.{layer}.";
  std::string attention_norm = "layer_norm1";
  std::vector<std::string> qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
  std::string attention_out = "self_attn.out_proj";
  std::string ffn_norm = "layer_norm2";
  std::string ffn_up = "mlp.fc1";
  std::string ffn_down = "mlp.fc2";
  // How names begin of what is in the files, but not computed.
  std::vector<std::string> unused = {"post_layernorm.", "head.", "embeddings.position_ids"};

  bool operator==(const VisionNames&) const = default;
};

// A vision transformer over square patches, pre-norm (CLIP: Radford et al. 2021; SigLIP: Zhai et
// al. 2023; images of any shape: Qwen3-VL).
struct VisionSpec {
  int image_size = 336;
  int patch_size = 14;
  int hidden = 1024;
  int ffn = 4096;
  int heads = 16;
  int layers = 24;      // in the checkpoint
  int run_layers = 23;  // computed; select layer -2 of 24 is 23
  Activation activation = Activation::kQuickGelu;
  float norm_epsilon = 1e-5f;
  bool class_token = true;     // one row before the patches
  bool patch_bias = false;     // of the patch convolution
  bool embedding_norm = true;  // a norm before the first layer
  int skip_rows = 1;           // leading rows that do not become image tokens
  // Sides in which an image is seen, in units of image_size, the first 1. Side s is cut into s²
  // tiles, encoded each on its own; their features are averaged over s × s neighbours and stand
  // beside those of the other sides (S²: Shi et al. 2024).
  std::vector<int> scales = {1};
  // Images keep their shape and come as patches in windows, each of which becomes one token;
  // positions are interpolated from a table of position_grid² and rotate queries and keys by row
  // and column. None: all are squares of image_size.
  std::optional<NativeSize> native;
  int position_grid = 0;
  double rope_theta = 10000;
  // layers whose output is projected, too, and added to the rows that leave the decoder's first
  // layers
  std::vector<int> taps;
  std::string prefix;  // of its tensors, with the trailing dot
  VisionNames names;

  int grid() const { return image_size / patch_size; }
  int patches() const { return grid() * grid(); }
  int rows() const { return patches() + (class_token ? 1 : 0); }
  int tokens() const { return rows() - skip_rows; }
  int token_grid() const;  // side of the square that the tokens fill; 0: they fill none
  int views() const;       // tiles of all scales
  // rows joined to a token
  int window() const { return native ? native->merge * native->merge : 1; }
  int frames() const { return native ? native->frames : 1; }
  // of a token
  int features() const { return hidden * static_cast<int>(scales.size()) * window(); }

  bool operator==(const VisionSpec&) const = default;
};

// Linear layers with an activation between each two, from vision features to the language model's
// width; none leave them as they are.
struct ProjectorSpec {
  // side of the squares of tokens that are averaged first; what is left at odd edges is dropped
  int pool = 1;
  std::string norm;          // a LayerNorm before them; empty for none
  bool norm_joined = false;  // over a token's joined rows, not over each row
  float norm_epsilon = 1e-6f;
  std::vector<std::string> layers;  // tensor names without ".weight", ".bias"
  bool wide = false;                // all but the last keep the features' width
  bool bias = true;
  Activation activation = Activation::kGeluErf;
  // tensors of the learned rows before and behind an image's, [1, 1, hidden]; none or two
  std::vector<std::string> edges;

  bool operator==(const ProjectorSpec&) const = default;
};

enum class ResidualLayout : uint8_t {
  kSequential,  // x += attention(norm1(x)); x += ffn(norm2(x))
  kParallel,    // x += attention(norm(x)) + ffn(norm(x))
};

// Tensor names below a layer's prefix, without ".weight" and ".bias". Lists are stacked in order.
struct DecoderNames {
  std::string embedding;
  std::string layer;  // "model.layers.{layer}."
  std::string attention_norm;
  std::string ffn_norm;  // empty where one norm feeds both
  std::vector<std::string> qkv;
  std::string query_norm;  // of each head; empty for none
  std::string key_norm;
  std::string attention_out;
  std::string mlp;                  // prefix of a dense layer's matrices, "mlp."
  std::vector<std::string> ffn_up;  // below the prefix of a dense layer or an expert
  std::string ffn_down;
  std::string router;
  std::string expert;  // prefix of one expert: "…{expert}."
  // All experts in one tensor each, [experts, hidden, 2 · ffn] (gate, then up) and [experts, ffn,
  // hidden], or the same with the last two axes exchanged. Empty, or not in the checkpoint: one
  // tensor per expert.
  std::string fused_up;
  std::string fused_down;
  std::vector<std::string> lora_up;  // prefixes of one low-rank expert of each ffn_up: "…{expert}."
  std::string lora_down;
  std::string residual_mlp;  // prefix of the dense matrices beside the experts
  std::string residual_mix;  // what weighs experts against them
  std::string final_norm;
  std::string head;

  bool operator==(const DecoderNames&) const = default;
};

// The most choices that one expert takes of the tokens computed together: max(⌈tokens / experts ·
// factor · k⌉, minimum). Those above are dropped (Lepikhin et al. 2021, arXiv:2006.16668, algorithm
// 1; DeepSpeed 0.9.5, deepspeed/moe/sharded_moe.py).
struct ExpertCapacity {
  double factor = 1.0;
  int minimum = 4;

  bool operator==(const ExpertCapacity&) const = default;
};

// Low-rank experts of a gated FFN's matrices: every routed layer has the dense FFN and experts that
// are added to it, chosen once for all of its matrices (LoRA: Hu et al. 2021, arXiv:2106.09685;
// LLaVA-MoLE: Chen et al. 2024, arXiv:2401.16160).
struct LoraSpec {
  int rank = 0;
  float scale = 1;  // α / rank

  bool operator==(const LoraSpec&) const = default;
};

struct DecoderSpec {
  int hidden = 0;
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int ffn = 0;
  int expert_ffn = 0;       // of a whole expert; 0: as ffn
  int vocabulary_rows = 0;  // of embedding and head in the checkpoint
  NormKind norm = NormKind::kLayerNorm;
  bool norm_bias = true;
  float norm_epsilon = 1e-5f;
  ResidualLayout residual = ResidualLayout::kSequential;
  bool qkv_bias = true;
  bool attention_out_bias = true;
  bool ffn_bias = true;
  bool gated_ffn = false;
  Activation activation = Activation::kSilu;
  int rotary_dims = 0;  // first dims of each head that are rotated
  double rope_theta = 10000;
  // Positions have three axes (time, row, column), and this many of the pairs of dims rotate by
  // each, interleaved (Qwen3-VL). Empty: one.
  std::vector<int> rope_sections;
  // keys further back than this are not seen by a prompt's rows; 0: all are
  int sliding_window = 0;
  bool tied_head = false;
  std::vector<int> experts;  // per layer; 0: a dense layer
  RouterConfig router;
  bool router_bias = false;
  std::optional<LoraSpec> lora;  // the experts are low-rank ones; none: they are whole FFNs
  // where the experts cannot take every choice; none: nothing is dropped
  std::optional<ExpertCapacity> capacity;
  // Routed layers have a dense FFN beside the experts: c₀ · experts(x) + c₁ · dense(x), c the
  // softmax of a linear map of x (Rajbhandari et al. 2022, arXiv:2201.05596, "Residual-MoE", with
  // DeepSpeed's learned coefficient).
  bool residual_experts = false;
  float embedding_scale = 1;  // of token rows, not of images' rows
  // whether that holds for the tokens of a prompt with images, too
  bool scale_prompts_with_images = true;
  float branch_scale = 1;  // of what attention and FFN add to the residual stream
  float head_scale = 1;    // of the rows that the head sees
  DecoderNames names;

  int position_axes() const { return rope_sections.empty() ? 1 : 3; }
  int ffn_of_experts() const { return expert_ffn > 0 ? expert_ffn : ffn; }
  int max_experts() const;
  int moe_layers() const;

  bool operator==(const DecoderSpec&) const = default;
};

// The repetition penalty where neither a request nor generation_config.json names one, and what it
// counts beside the answer: the prompt's tokens, or BOS in their place, as Hugging Face's
// generate() does when it is given embeddings.
struct RepetitionSpec {
  float penalty = 1;
  bool bos_for_prompt = false;

  bool operator==(const RepetitionSpec&) const = default;
};

struct ModelSpec {
  std::string architecture;  // config.json's model_type
  DecoderSpec decoder;
  std::optional<VisionSpec> vision;
  ProjectorSpec projector;
  std::vector<ProjectorSpec> tap_projectors;  // one per tap of the vision encoder
  ImageProcessor image_processor;
  ImageMode image_mode = ImageMode::kPad;
  // the family's code turns images as their files' orientation tag says; others take them as
  // stored
  bool upright_images = false;
  PromptFormat prompt_format = PromptFormat::kPhi;
  RepetitionSpec repetition;
  // the text that ends an assistant's turn ends an answer, not only end tokens
  bool stops_at_turn_end = true;
  // Stands for images among a prompt's token ids: prompts are tokenized with its text in them.
  // None: they are cut at images.
  std::optional<int32_t> image_token;
  int max_context = 0;
  std::vector<CheckpointPart> parts;  // first wins; empty: the model directory as it is
  TokenizerClass tokenizer_class = TokenizerClass::kAny;  // that the model's own code uses
  // also of generation_config.json; empty: the model directory
  std::filesystem::path tokenizer_dir;
  std::vector<std::string> warnings;  // told at load

  // that an image takes in the language model; 0: it depends on its size, or the model takes none
  int image_rows() const;

  bool operator==(const ModelSpec&) const = default;
};

}  // namespace tessera
