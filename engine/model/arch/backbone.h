// What the readers of config.json share, whatever system a backbone belongs to: sizes, rotary
// positions, and the block of Llama (Touvron et al. 2023, arXiv:2302.13971), of which most
// backbones are variants. Keys and defaults are those of the configuration classes of Hugging Face
// transformers. Complaints are left in `config`.
#pragma once

#include <string>

#include "engine/base/json_file.h"
#include "engine/model/model_spec.h"

namespace tessera {

constexpr int kMaxSize = 1 << 20;  // of a width

// hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads; head_dim follows, and
// may be repeated. `vocabulary`: the rows of embedding and head where no vocab_size says otherwise.
void ReadSizes(JsonFields& config, int vocabulary, DecoderSpec& decoder);

// vocab_size, which the tensors must have.
void ReadVocabulary(JsonFields& config, int otherwise, DecoderSpec& decoder);

// Refuses any other `hidden_act`.
void ExpectActivation(JsonFields& config, const std::string& served);

int ReadMaxPositions(JsonFields& config, int fallback);

DecoderNames LlamaNames();

// Sizes and a block of SwiGLU without biases, in Llama's names; left out are norms and rotary
// positions.
void ReadGatedBlock(JsonFields& config, int vocabulary, ModelSpec& spec);

// LlamaConfig's biases, of attention and feed-forward.
void ReadLlamaBiases(JsonFields& config, DecoderSpec& decoder);

// A gated block with RMSNorm and rotary positions on whole heads.
void ReadLlamaBlock(JsonFields& config, ModelSpec& spec);

}  // namespace tessera
