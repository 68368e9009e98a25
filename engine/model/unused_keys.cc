#include "engine/model/unused_keys.h"

#include <fmt/format.h>

#include <algorithm>

namespace tessera {
namespace {

constexpr size_t kMaxWarnings = 20;
constexpr size_t kMaxShownBytes = 120;  // of a key or a value

// Reasons that many keys share.
constexpr std::string_view kStored = "how the file was stored; every tensor says its own";
constexpr std::string_view kTraining = "of training";
constexpr std::string_view kReturned = "what a call of the library returns";
constexpr std::string_view kLabels = "of classifiers";
constexpr std::string_view kOrigin = "where the file comes from";
constexpr std::string_view kDefaults = "sampling defaults are read from generation_config.json";
constexpr std::string_view kBeams = "of beam search, which num_beams turns on";
constexpr std::string_view kDecoding = "this way of decoding is not served";
constexpr std::string_view kEncoder = "of models with an encoder for text";
constexpr std::string_view kToken = "the tokenizer's own is taken";
constexpr std::string_view kPadding = "prompts are not padded";
constexpr std::string_view kLength = "a request says how long its answer may be";
constexpr std::string_view kVideo = "videos are not taken";
constexpr std::string_view kKernels = "how the reference computes, not what";
constexpr std::string_view kContrastive = "of the half that compares texts and images";
constexpr std::string_view kNoWindows =
    "of layers that use_sliding_window turns on, which is refused";
constexpr std::string_view kTiles = "of image_aspect_ratio anyres, which is refused";
constexpr std::string_view kPeft = "of training an adapter; its tensors say what it changes";
constexpr std::string_view kRead = "read";

constexpr UnusedKey kConfigKeys[] = {
    {"", "torch_dtype", "", kStored},
    {"", "dtype", "", kStored},
    {"", "_name_or_path", "", kOrigin},
    {"", "name_or_path", "", kOrigin},
    {"", "transformers_version", "", kOrigin},
    {"", "architectures", "", "model_type names the architecture"},
    {"", "auto_map", "", "code beside a model is not run"},
    {"", "attn_implementation", "", kKernels},
    {"", "_attn_implementation", "", kKernels},
    {"", "_attn_implementation_autoset", "", kKernels},
    {"", "use_flash_attn", "", kKernels},
    {"", "_flash_attn_2_enabled", "", kKernels},
    {"", "experts_implementation", "", kKernels},
    {"", "use_cache", "", kKernels},
    {"", "pretraining_tp", "", "cuts products into slices that add up to the same"},
    {"", "torchscript", "", kKernels},
    {"", "use_bfloat16", "", kKernels},
    {"", "tf_legacy_loss", "", kTraining},
    {"", "chunk_size_feed_forward", "", kKernels},
    {"", "initializer_range", "", kTraining},
    {"", "initializer_factor", "", kTraining},
    {"", "attention_dropout", "", kTraining},
    {"", "attn_dropout_prob", "", kTraining},
    {"", "emb_dropout_prob", "", kTraining},
    {"", "embd_pdrop", "", kTraining},
    {"", "resid_pdrop", "", kTraining},
    {"", "hidden_dropout", "", kTraining},
    {"", "dropout", "", kTraining},
    {"", "router_aux_loss_coef", "", kTraining},
    {"", "ignore_index", "", kTraining},
    {"", "pruned_heads", "{}", "a pruned model has other shapes"},
    {"", "return_dict", "", kReturned},
    {"", "output_hidden_states", "", kReturned},
    {"", "output_attentions", "", kReturned},
    {"", "output_router_logits", "", kReturned},
    {"", "output_scores", "", kReturned},
    {"", "return_dict_in_generate", "", kReturned},
    {"", "id2label", "", kLabels},
    {"", "label2id", "", kLabels},
    {"", "num_labels", "", kLabels},
    {"", "problem_type", "", kLabels},
    {"", "finetuning_task", "", kLabels},
    {"", "task_specific_params", "", "of pipelines"},
    {"", "prefix", "", "of pipelines"},
    {"", "is_encoder_decoder", "false", kEncoder},
    {"", "is_decoder", "", kEncoder},
    {"", "add_cross_attention", "false", kEncoder},
    {"", "cross_attention_hidden_size", "", kEncoder},
    {"", "tie_encoder_decoder", "", kEncoder},
    {"", "decoder_start_token_id", "", kEncoder},
    {"", "tokenizer_class", "", "the tokenizer's own files say what it is"},
    {"", "bos_token_id", "", kToken},
    {"", "sep_token_id", "", kToken},
    {"", "pad_token_id", "", kPadding},
    {"", "eos_token_id", "", "read with generation_config.json, which counts before it"},
    // Of generation, in files of before generation_config.json.
    {"", "max_length", "", kLength},
    {"", "min_length", "0", kDecoding},
    {"", "do_sample", "false", kDefaults},
    {"", "temperature", "1.0", kDefaults},
    {"", "top_k", "50", kDefaults},
    {"", "top_p", "1.0", kDefaults},
    {"", "repetition_penalty", "1.0", kDefaults},
    {"", "typical_p", "1.0", kDecoding},
    {"", "num_beams", "1", kDecoding},
    {"", "num_beam_groups", "", kBeams},
    {"", "diversity_penalty", "", kBeams},
    {"", "length_penalty", "", kBeams},
    {"", "early_stopping", "", kBeams},
    {"", "no_repeat_ngram_size", "0", kDecoding},
    {"", "encoder_no_repeat_ngram_size", "", kEncoder},
    {"", "bad_words_ids", "null", kDecoding},
    {"", "num_return_sequences", "", "a request gets one answer"},
    {"", "forced_bos_token_id", "null", kDecoding},
    {"", "forced_eos_token_id", "null", kDecoding},
    {"", "remove_invalid_values", "", "logits that are not finite end a request"},
    {"", "exponential_decay_length_penalty", "null", kDecoding},
    {"", "suppress_tokens", "null", kDecoding},
    {"", "begin_suppress_tokens", "null", kDecoding},
    // Of LLaVA's layout and its kin.
    {"", "use_mm_proj", "", kTraining},
    {"", "tune_mm_mlp_adapter", "", kTraining},
    {"", "freeze_mm_mlp_adapter", "", kTraining},
    {"", "tune_mm_vision_resampler", "", kTraining},
    {"", "freeze_mm_vision_resampler", "", kTraining},
    {"", "mm_projector_lr", "", kTraining},
    {"", "mm_vision_tower_lr", "", kTraining},
    {"", "unfreeze_mm_vision_tower", "", "of files that hold their tower in any case"},
    {"", "mm_resampler_type", "null", "resamplers are not served"},
    {"", "mm_patch_merge_type", "\"flat\"", "how tiles of images are joined, which are not served"},
    {"", "image_grid_pinpoints", "", kTiles},
    {"", "image_crop_resolution", "", kTiles},
    {"", "image_split_resolution", "", kTiles},
    {"", "mm_use_im_patch_token", "", "adds a token that no prompt holds"},
    {"", "s2_scales", "", "of several scales, which s2 turns on"},
    {"", "tokenizer_padding_side", "", kPadding},
    {"moe_llava", "mm_video_tower", "", kVideo},
    {"moe_llava", "video_projector_type", "", kVideo},
    {"moe_llava", "video_global_proj", "", kVideo},
    {"moe_llava", "video_spatial_proj", "", kVideo},
    {"moe_llava", "video_temproal_proj", "", kVideo},
    {"moe_llava", "lora", "{}", "adapters are read from directories of their own"},
    {"moe_llava", "moe.moe_mode", "", "moe_layers_idx says which layers it means"},
    {"moe_llava", "moe.train_modules", "", kTraining},
    {"moe_llava", "moe.capacity_factor", "", kTraining},
    {"moe_llava", "moe.ep_size", "", "how training spread the experts over devices"},
    {"moe_llava_qwen", "sliding_window", "", kNoWindows},
    {"moe_llava_qwen", "max_window_layers", "", kNoWindows},
    {"moe_llava_qwen", "bf16", "", kKernels},
    {"moe_llava_qwen", "fp16", "", kKernels},
    {"moe_llava_qwen", "fp32", "", kKernels},
    {"moe_llava_qwen", "use_cache_kernel", "", kKernels},
    {"moe_llava_qwen", "use_cache_quantization", "false",
     "--kv-dtype says how keys and values are kept"},
    {"moe_llava_qwen", "softmax_in_fp32", "", "it is always in float32"},
    {"moe_llava_qwen", "onnx_safe", "", kKernels},
    // Of transformers' layouts.
    {"llava", "vocab_size", "", "that of text_config counts"},
    {"llava", "image_seq_length", "", "the tower's geometry says it"},
    {"", "vision_config.projection_dim", "", kContrastive},
    {"", "vision_config.vocab_size", "", "the tower knows no words"},
    {"", "vision_config.tie_word_embeddings", "", "the tower knows no words"},
    {"qwen3", "sliding_window", "", kNoWindows},
    {"qwen3", "max_window_layers", "", kNoWindows},
    {"qwen3_vl_moe", "video_token_id", "", kVideo},
    {"qwen3_vl_moe", "vision_start_token_id", "", "prompts are written with its text"},
    {"qwen3_vl_moe", "vision_end_token_id", "", "prompts are written with its text"},
    {"qwen3_vl_moe", "text_config.norm_topk_prob", "",
     "this architecture always divides by the sum"},
    {"qwen3_vl_moe", "text_config.tie_word_embeddings", "", "that of the whole model counts"},
    // Of towers in directories of their own.
    {"clip", "projection_dim", "", kContrastive},
    {"clip", "logit_scale_init_value", "", kContrastive},
    {"clip", "text_config", "", kContrastive},
    {"clip", "text_config_dict", "", kContrastive},
    {"clip", "vision_config_dict.projection_dim", "", kContrastive},
    {"siglip", "text_config", "", kContrastive},
    {"siglip", "projection_dim", "", kContrastive},
    {"siglip", "vision_use_head", "", "of a head behind the rows that are used"},
    {"", "vision_config.vision_use_head", "", "of a head behind the rows that are used"},
    // Of PEFT's adapters.
    {"lora", "alora_invocation_tokens", "null", kDecoding},
    {"lora", "auto_mapping", "", kOrigin},
    {"lora", "base_model_name_or_path", "", "--base names it"},
    {"lora", "bias", "\"none\"", "biases of adapters are not served"},
    {"lora", "corda_config", "", kPeft},
    {"lora", "eva_config", "", kPeft},
    {"lora", "exclude_modules", "", kPeft},
    {"lora", "inference_mode", "", kPeft},
    {"lora", "init_lora_weights", "", kPeft},
    {"lora", "layer_replication", "null", "layers that are used more than once are not served"},
    {"lora", "layers_pattern", "", kPeft},
    {"lora", "layers_to_transform", "", kPeft},
    {"lora", "loftq_config", "", kPeft},
    {"lora", "lora_bias", "false", "biases of adapters are not served"},
    {"lora", "lora_dropout", "", kTraining},
    {"lora", "megatron_config", "", kPeft},
    {"lora", "megatron_core", "", kPeft},
    {"lora", "modules_to_save", "", kPeft},
    {"lora", "peft_version", "", kOrigin},
    {"lora", "qalora_group_size", "", kPeft},
    {"lora", "revision", "", kOrigin},
    {"lora", "runtime_config", "", kKernels},
    {"lora", "target_modules", "", kPeft},
    {"lora", "target_parameters", "", kPeft},
    {"lora", "task_type", "", kPeft},
    {"lora", "trainable_token_indices", "null", "adapters of single tokens are not served"},
    {"lora", "use_qalora", "false", "is not served"},
};

constexpr UnusedKey kGenerationKeys[] = {
    {"", "_from_model_config", "", kOrigin},
    {"", "transformers_version", "", kOrigin},
    {"", "bos_token_id", "", kToken},
    {"", "pad_token_id", "", kPadding},
    {"", "eos_token_id", "", "read with the tokenizer"},
    {"", "decoder_start_token_id", "", kEncoder},
    {"", "max_length", "", kLength},
    {"", "max_new_tokens", "", kLength},
    {"", "max_time", "", "a request says how long it may take"},
    {"", "min_length", "0", kDecoding},
    {"", "min_new_tokens", "0", kDecoding},
    {"", "stop_strings", "null", "a request says where its answer stops"},
    {"", "num_beams", "1", kDecoding},
    {"", "num_beam_groups", "", kBeams},
    {"", "diversity_penalty", "", kBeams},
    {"", "length_penalty", "", kBeams},
    {"", "early_stopping", "", kBeams},
    {"", "constraints", "", kBeams},
    {"", "force_words_ids", "null", kDecoding},
    {"", "renormalize_logits", "", "chances are always divided by their sum"},
    {"", "penalty_alpha", "null", kDecoding},
    {"", "dola_layers", "null", kDecoding},
    {"", "low_memory", "", kKernels},
    {"", "typical_p", "1.0", kDecoding},
    {"", "top_h", "null", kDecoding},
    {"", "epsilon_cutoff", "0.0", kDecoding},
    {"", "eta_cutoff", "0.0", kDecoding},
    {"", "no_repeat_ngram_size", "0", kDecoding},
    {"", "encoder_no_repeat_ngram_size", "", kEncoder},
    {"", "encoder_repetition_penalty", "1.0", kDecoding},
    {"", "bad_words_ids", "null", kDecoding},
    {"", "sequence_bias", "null", kDecoding},
    {"", "token_healing", "false", kDecoding},
    {"", "guidance_scale", "1.0", kDecoding},
    {"", "watermarking_config", "null", kDecoding},
    {"", "forced_bos_token_id", "null", kDecoding},
    {"", "forced_eos_token_id", "null", kDecoding},
    {"", "forced_decoder_ids", "null", kDecoding},
    {"", "exponential_decay_length_penalty", "null", kDecoding},
    {"", "suppress_tokens", "null", kDecoding},
    {"", "begin_suppress_tokens", "null", kDecoding},
    {"", "remove_invalid_values", "", "logits that are not finite end a request"},
    {"", "num_return_sequences", "", "a request gets one answer"},
    {"", "output_attentions", "", kReturned},
    {"", "output_hidden_states", "", kReturned},
    {"", "output_scores", "", kReturned},
    {"", "output_logits", "", kReturned},
    {"", "return_dict_in_generate", "", kReturned},
    {"", "return_legacy_cache", "", kReturned},
    {"", "use_cache", "", kKernels},
    {"", "cache_implementation", "", kKernels},
    {"", "cache_config", "", kKernels},
    {"", "prefill_chunk_size", "", kKernels},
    {"", "compile_config", "", kKernels},
    {"", "disable_compile", "", kKernels},
    {"", "continuous_batching_config", "", kKernels},
    {"", "is_assistant", "", kKernels},
    {"", "num_assistant_tokens", "", kKernels},
    {"", "num_assistant_tokens_schedule", "", kKernels},
    {"", "assistant_confidence_threshold", "", kKernels},
    {"", "assistant_early_exit", "", kKernels},
    {"", "assistant_ensemble_weight", "", kKernels},
    {"", "max_cache_len", "", kKernels},
    {"", "use_mtp", "", kKernels},
    {"", "assistant_lookbehind", "", kKernels},
    {"", "target_lookbehind", "", kKernels},
    {"", "prompt_lookup_num_tokens", "", kKernels},
    {"", "max_matching_ngram_size", "", kKernels},
    {"", "speculation_type", "", kKernels},
    {"", "trust_remote_code", "", "code beside a model is not run"},
    {"", "generation_kwargs", "{}", kDecoding},
    // Of Qwen's own code, by which its prompts are written.
    {"", "chat_format", "", "the architecture's prompt format is served"},
    {"", "max_window_size", "", "the model's context bounds prompts"},
    {"", "stop_words_ids", "", "end tokens and the turn's end stop an answer"},
};

constexpr UnusedKey kProcessorKeys[] = {
    {"", "image_processor_type", "", kRead},
    {"", "feature_extractor_type", "", kRead},
    {"", "do_resize", "", kRead},
    {"", "size", "", kRead},
    {"", "resample", "", kRead},
    {"", "do_rescale", "", kRead},
    {"", "rescale_factor", "", kRead},
    {"", "do_normalize", "", kRead},
    {"", "image_mean", "", kRead},
    {"", "image_std", "", kRead},
    {"clip", "do_center_crop", "", kRead},
    {"clip", "crop_size", "", kRead},
    {"siglip", "do_center_crop", "false", "this processor does not crop"},
    {"siglip", "crop_size", "null", "this processor does not crop"},
    {"qwen2_vl", "do_center_crop", "false", "this processor does not crop"},
    {"qwen2_vl", "crop_size", "null", "this processor does not crop"},
    {"qwen2_vl", "patch_size", "", kRead},
    {"qwen2_vl", "temporal_patch_size", "", kRead},
    {"qwen2_vl", "merge_size", "", kRead},
    {"qwen2_vl", "min_pixels", "", kRead},
    {"qwen2_vl", "max_pixels", "", kRead},
    {"", "do_convert_rgb", "true", "images always become three channels"},
    {"", "do_pad", "false", "padding of batches is not served"},
    {"", "pad_size", "null", "padding of batches is not served"},
    {"", "default_to_square", "", "size says which sides it means"},
    {"", "processor_class", "", "the architecture says it"},
    {"", "image_seq_length", "", "the tower's geometry says it"},
    {"", "auto_map", "", "code beside a model is not run"},
    {"", "data_format", "", kReturned},
    {"", "input_data_format", "null", "images come as files"},
    {"", "return_tensors", "", kReturned},
    {"", "device", "", kKernels},
    {"", "disable_grouping", "", kKernels},
    {"", "_valid_processor_keys", "", kOrigin},
    {"", "_processor_class", "", "the architecture says it"},
};

// A key or value as a warning shows it: JSON, so that it stays on its line.
std::string Shown(const nlohmann::json& value) {
  std::string text =
      value.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kMaxShownBytes) text = text.substr(0, kMaxShownBytes) + "…";
  return text;
}

bool IsNeutral(const UnusedKey& row, const nlohmann::json& value) {
  return row.neutral.empty() || value.is_null() || value == nlohmann::json::parse(row.neutral);
}

}  // namespace

std::span<const UnusedKey> UnusedConfigKeys() { return kConfigKeys; }
std::span<const UnusedKey> UnusedGenerationKeys() { return kGenerationKeys; }
std::span<const UnusedKey> ProcessorKeys() { return kProcessorKeys; }

const UnusedKey* FindUnusedKey(std::span<const UnusedKey> table, std::string_view family,
                               std::string_view path) {
  const auto matches = [&](const UnusedKey& row) {
    if (!family.starts_with(row.families) || !path.ends_with(row.key)) return false;
    return path.size() == row.key.size() || path[path.size() - row.key.size() - 1] == '.';
  };
  const auto found = std::find_if(table.begin(), table.end(), matches);
  return found == table.end() ? nullptr : &*found;
}

void WarnOfUnread(const JsonFields& fields, std::span<const UnusedKey> table,
                  std::string_view family, std::vector<std::string>& warnings) {
  size_t unknown = 0;
  for (const JsonFields::Field& field : fields.Unread()) {
    const UnusedKey* row = FindUnusedKey(table, family, field.path);
    if (row != nullptr && IsNeutral(*row, *field.value)) continue;
    if (++unknown > kMaxWarnings) continue;
    const std::string named =
        fmt::format("{}: {} {}", fields.place(), Shown(field.path), Shown(*field.value));
    warnings.push_back(row != nullptr
                           ? fmt::format("{} is not used: {}", named, row->why)
                           : fmt::format("{} is not understood and has no effect", named));
  }
  if (unknown > kMaxWarnings) {
    warnings.push_back(fmt::format("{}: {} more keys are not understood or not used",
                                   fields.place(), unknown - kMaxWarnings));
  }
}

}  // namespace tessera
