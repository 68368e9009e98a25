// What the readers of config.json share, whatever system a backbone belongs to: sizes, rotary
// positions, and the block of Llama (Touvron et al. 2023, arXiv:2302.13971), of which most
// backbones are variants. Keys and defaults are those of the configuration classes of Hugging Face
// transformers. Complaints are left in `config`.
#pragma once

#include <string>

#include "engine/checkpoint/json_file.h"
#include "engine/model/model_spec.h"

namespace tessera {

constexpr int kMaxSize = 1 << 20;  // of a width

// hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads; head_dim follows.
void ReadSizes(JsonFields& config, DecoderSpec& decoder);

// Refuses any other `hidden_act`.
void ExpectActivation(JsonFields& config, const std::string& served);

// Rotary positions on the first `share` of each head's dims, with the base that `theta_key` names.
// Refuses scaled positions.
void ReadRotary(JsonFields& config, double share, const std::string& theta_key,
                DecoderSpec& decoder);

int ReadMaxPositions(JsonFields& config, int fallback);

DecoderNames LlamaNames();

// Sizes and a block of RMSNorm, SwiGLU and rotary positions on whole heads, without biases.
void ReadLlamaBlock(JsonFields& config, ModelSpec& spec);

}  // namespace tessera
