#include "tests/testing/config_reader.h"

#include "tests/testing/tokenizer_files.h"

namespace tessera::testing {

using nlohmann::json;

json PublishedPhi() {
  json config = json::parse(R"({
    "architectures": ["MoELLaVAPhiForCausalLM"], "model_type": "moe_llava_phi",
    "bos_token_id": null, "eos_token_id": null, "hidden_act": "gelu_new", "hidden_size": 2560,
    "image_aspect_ratio": "pad", "image_projector_type": "mlp2x_gelu", "intermediate_size": 10240,
    "layer_norm_eps": 1e-05, "max_position_embeddings": 2048, "mm_hidden_size": 1024,
    "mm_image_tower": "openai/clip-vit-large-patch14-336", "mm_use_im_patch_token": false,
    "mm_use_im_start_end": false, "mm_video_tower": null, "mm_vision_select_feature": "patch",
    "mm_vision_select_layer": -2, "num_attention_heads": 32, "num_hidden_layers": 32,
    "num_key_value_heads": 32, "partial_rotary_factor": 0.4, "qk_layernorm": false,
    "resid_pdrop": 0.1, "rope_scaling": null, "rope_theta": 10000.0,
    "tie_word_embeddings": false, "torch_dtype": "float16", "vocab_size": 51200,
    "moe": {"moe_enable": true, "moe_mode": "sparse", "top_k_experts": 2, "ep_size": 1,
      "capacity_factor": 1.5, "eval_capacity_factor": 2.0, "min_capacity": 0,
      "use_residual": false, "router_aux_loss_coef": 0.01}})");
  for (int layer = 0; layer < 32; layer += 2) {
    config["moe"]["moe_layers_idx"].push_back(layer);
    config["moe"]["num_experts"].push_back(4);
  }
  return config;
}

absl::StatusOr<ModelSpec> ConfigReader::Read(const json& config,
                                             const VisionTowerDir& tower) const {
  WriteFile(config_path_, config.dump());
  return ReadModelSpec({directory_.path(), tower});
}

absl::StatusOr<ModelSpec> ConfigReader::ReadWithTower(const json& config, const json& tower,
                                                      const json& processor) const {
  const std::filesystem::path dir = directory_.path() / "tower";
  std::filesystem::create_directories(dir);
  WriteFile(dir / "config.json", tower.dump());
  WriteFile(dir / "preprocessor_config.json", processor.dump());
  return Read(config, dir);
}

}  // namespace tessera::testing
