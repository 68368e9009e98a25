// Whole decoders of every architecture, small and with random weights: from config.json to logits,
// against double precision; whole, in chunks, prompts and answers apart. And what loading says of
// tensors that are missing or have another shape.
#include "engine/model/decoder.h"

#include <gtest/gtest.h>

#include <functional>

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/cpu/make_cpu_backend.h"
#include "engine/model/arch/architectures.h"
#include "tests/testing/near.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tiny_decoder.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;
using testing::TinyDecoder;

constexpr int32_t kVocabulary = 61;
constexpr int32_t kBlockSize = 8;
constexpr double kTolerance = 2e-5;  // relative, float32

// Keys that every architecture reads alike, and some where their defaults are those of larger
// models.
json TinyConfig(const std::string& model_type) {
  return {{"model_type", model_type},
          {"hidden_size", 64},
          {"num_hidden_layers", 3},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 4},
          {"kv_channels", 16},
          {"vocab_size", kVocabulary},
          {"intermediate_size", 40},
          {"max_position_embeddings", 256},
          {"moe",
           {{"moe_layers_idx", {0, 2}},
            {"num_experts", {4, 3}},
            {"top_k_experts", 2},
            {"eval_capacity_factor", 2.0},
            {"min_capacity", 0}}}};
}

json With(json config, const json& changes) {
  config.merge_patch(changes);
  return config;
}

std::vector<int32_t> SomeIds(int32_t count) {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < count; ++i) ids.push_back((i * i * 7 + 3 * i + 5) % kVocabulary);
  return ids;
}

// One sequence, the first `prompt_rows` of whose ids are its prompt's.
struct Text {
  std::vector<int32_t> ids;
  int32_t prompt_rows = 0;
  bool has_images = false;
};

// Rows [begin, end) of it; it has the cache for itself.
Batch BatchOf(const Text& text, int32_t begin, int32_t end) {
  Batch batch;
  for (int32_t row = begin; row < end; ++row) {
    batch.ids.push_back(text.ids[static_cast<size_t>(row)]);
    batch.positions.push_back(row);
    batch.slots.push_back(row);
    batch.logit_rows.push_back(row - begin);
  }
  batch.query_starts = {0, end - begin};
  batch.context_lengths = {end};
  batch.max_blocks = (end + kBlockSize - 1) / kBlockSize;
  for (int32_t block = 0; block < batch.max_blocks; ++block) batch.block_tables.push_back(block);
  batch.prompt_rows = {std::clamp(text.prompt_rows - begin, 0, end - begin)};
  batch.has_images = {text.has_images};
  return batch;
}

class DecoderTest : public ::testing::Test {
 protected:
  void SetUp() override { backend_ = MakeCpuBackend({DType::kFloat32, 2}).value(); }

  DecoderSpec ReadSpec(const json& config) {
    testing::WriteFile(directory_.path() / "config.json", config.dump());
    const auto spec = ReadModelSpec({directory_.path()});
    EXPECT_TRUE(spec.ok()) << spec.status();
    return spec.ok() ? spec->decoder : DecoderSpec();
  }

  absl::StatusOr<std::unique_ptr<Decoder>> Load(const DecoderSpec& spec, const TinyDecoder& tiny) {
    tiny.Write(directory_.path());
    const auto checkpoint = Checkpoint::Open({{directory_.path()}}).value();
    WeightLoader loader(*backend_, *checkpoint, nullptr);
    auto decoder = Decoder::Load(spec, 256, RouterMode::kDeterministic, loader);
    unused_ = checkpoint->Unused();
    parameters_ = loader.parameters();
    return decoder;
  }

  // Logits of all rows, computed in passes that end at `ends`.
  std::vector<float> Run(Decoder& decoder, const Text& text, const std::vector<int32_t>& ends) {
    const auto cache = KvCache::Allocate(*backend_, decoder.spec(), 16, kBlockSize).value();
    std::vector<float> logits;
    int32_t begin = 0;
    for (const int32_t end : ends) {
      const DecoderOutput output =
          decoder.Forward(*backend_, BatchOf(text, begin, end), *cache, nullptr);
      const std::vector<float> some = backend_->DownloadFloats(output.logits);
      logits.insert(logits.end(), some.begin(), some.end());
      backend_->ResetArena();
      begin = end;
    }
    return logits;
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<Backend> backend_;
  std::vector<std::string> unused_;  // tensors, of the last Load()
  int64_t parameters_ = 0;
};

struct Variant {
  std::string name;
  json config;
  // What the reader must have made of it, so that no case passes without its property.
  std::function<bool(const DecoderSpec&)> has_property;
};

const json kResidual = {{"moe", {{"use_residual", true}}}};
const json kTight = {{"moe", {{"eval_capacity_factor", 0.5}, {"min_capacity", 1}}}};
const json kTopOne = {{"moe", {{"top_k_experts", 1}}}};

std::vector<Variant> Variants() {
  const auto any = [](const DecoderSpec&) { return true; };
  const auto residual = [](const DecoderSpec& spec) { return spec.residual_experts; };
  const auto capacity = [](const DecoderSpec& spec) { return spec.capacity.has_value(); };
  std::vector<Variant> variants;
  for (const Architecture& architecture : Architectures()) {
    const std::string name(architecture.model_type);
    if (name.rfind("moe_llava_", 0) == 0) variants.push_back({name, TinyConfig(name), any});
  }
  const auto add = [&](const std::string& name, const std::string& model_type, const json& changes,
                       auto has_property) {
    variants.push_back({name, With(TinyConfig(model_type), changes), has_property});
  };
  add("dense", "moe_llava_qwen2", {{"moe", {{"moe_enable", false}}}},
      [](const DecoderSpec& spec) { return spec.moe_layers() == 0; });
  add("grouped_queries", "moe_llava_qwen2", {{"num_key_value_heads", 2}},
      [](const DecoderSpec& spec) { return spec.kv_heads == 2; });
  add("window", "moe_llava_mistral", {{"num_key_value_heads", 1}, {"sliding_window", 5}},
      [](const DecoderSpec& spec) { return spec.sliding_window == 5; });
  add("no_window", "moe_llava_mistral", {{"sliding_window", nullptr}},
      [](const DecoderSpec& spec) { return spec.sliding_window >= 0; });
  add("own_head", "moe_llava_minicpm", {{"tie_word_embeddings", false}},
      [](const DecoderSpec& spec) { return !spec.tied_head; });
  add("scaled", "moe_llava_minicpm",
      {{"scale_emb", 12}, {"scale_depth", 1.4}, {"dim_model_base", 16}},
      [](const DecoderSpec& spec) {
        return spec.embedding_scale == 12 && spec.branch_scale < 1 && spec.head_scale < 1;
      });
  add("attention_bias", "moe_llava_llama", {{"attention_bias", true}},
      [](const DecoderSpec& spec) { return spec.attention_out_bias; });
  add("biased_qwen", "moe_llava_qwen", {{"no_bias", false}},
      [](const DecoderSpec& spec) { return spec.ffn_bias; });
  add("residual_phi", "moe_llava_phi", kResidual, residual);
  add("residual_stablelm", "moe_llava_stablelm", kResidual, residual);
  add("capacity", "moe_llava_phi", kTight, capacity);
  add("capacity_of_one_choice", "moe_llava_stablelm", With(kTight, kTopOne), capacity);
  add("residual_capacity", "moe_llava_llama", With(kTight, kResidual), capacity);
  return variants;
}

class DecoderOf : public DecoderTest, public ::testing::WithParamInterface<Variant> {};

TEST_P(DecoderOf, ComputesWhatItsFormulasSay) {
  const DecoderSpec spec = ReadSpec(GetParam().config);
  ASSERT_TRUE(GetParam().has_property(spec));
  const TinyDecoder tiny(spec, kVocabulary);
  const auto decoder = Load(spec, tiny);
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  EXPECT_EQ(unused_, std::vector<std::string>());
  for (const bool has_images : {false, true}) {
    const Text text = {SomeIds(37), 29, has_images};
    const testing::reference::Values expected =
        tiny.Logits(text.ids, text.prompt_rows, text.has_images);
    // The prompt whole, then an answer token after token: as a request is computed.
    std::vector<int32_t> ends;
    for (int32_t end = text.prompt_rows; end <= 37; ++end) ends.push_back(end);
    EXPECT_TRUE(testing::Near(Run(**decoder, text, ends), expected, kTolerance));
    // All at once: as after a preemption.
    EXPECT_TRUE(testing::Near(Run(**decoder, text, {37}), expected, kTolerance));
    if (spec.capacity) continue;  // its prompts are not cut
    EXPECT_EQ(Run(**decoder, text, {7, 20, 33, 37}), Run(**decoder, text, {37}));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, DecoderOf, ::testing::ValuesIn(Variants()),
                         [](const auto& info) { return info.param.name; });

// Each property changes the result: a case above could otherwise pass by both sides leaving it out.
TEST_F(DecoderTest, EveryPropertyShows) {
  const auto logits = [](const DecoderSpec& spec, bool has_images) {
    return TinyDecoder(spec, kVocabulary).Logits(SomeIds(30), 29, has_images);
  };
  const json minicpm = With(TinyConfig("moe_llava_minicpm"), {{"scale_emb", 12}});
  EXPECT_NE(logits(ReadSpec(minicpm), false), logits(ReadSpec(minicpm), true));
  for (const auto& [model_type, changes] :
       std::vector<std::pair<std::string, json>>{{"moe_llava_mistral", {{"sliding_window", 5}}},
                                                 {"moe_llava_minicpm", {{"scale_depth", 1.4}}},
                                                 {"moe_llava_minicpm", {{"dim_model_base", 16}}},
                                                 {"moe_llava_stablelm", kTight}}) {
    const json config = TinyConfig(model_type);
    EXPECT_NE(logits(ReadSpec(config), false), logits(ReadSpec(With(config, changes)), false))
        << model_type << changes;
  }
}

TEST_F(DecoderTest, ALongPassBeatsAfterEachLayer) {
  const DecoderSpec spec = ReadSpec(Variants()[0].config);
  const auto decoder = Load(spec, TinyDecoder(spec, kVocabulary));
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  int beats = 0;
  (*decoder)->set_heartbeat([&] { ++beats; });
  Run(**decoder, {SomeIds(37), 29, false}, {20, 37});
  EXPECT_EQ(beats, 2 * spec.layers);
}

TEST_F(DecoderTest, ATiedHeadIsCountedOnce) {
  const json config = With(TinyConfig("moe_llava_qwen2"), {{"tie_word_embeddings", true}});
  const DecoderSpec spec = ReadSpec(config);
  TinyDecoder tiny(spec, kVocabulary);
  EXPECT_FALSE(tiny.tensors().contains("lm_head.weight"));
  int64_t elements = 0;
  for (const auto& [name, weights] : tiny.tensors()) {
    elements += static_cast<int64_t>(weights.values.size());
  }
  ASSERT_TRUE(Load(spec, tiny).ok());
  EXPECT_EQ(parameters_, elements);
}

TEST_F(DecoderTest, LoadingNamesTheTensorThatIsMissingOrOfAnotherShape) {
  const std::pair<json, std::vector<std::string>> cases[] = {
      {With(TinyConfig("moe_llava_stablelm"), kResidual),
       {"model.embed_tokens.weight", "model.layers.0.mlp.coefficient.bias",
        "model.layers.2.mlp.coefficient.weight", "model.layers.2.mlp.mlp.up_proj.weight",
        "model.layers.0.mlp.deepspeed_moe.gate.wg.weight", "lm_head.weight",
        "model.layers.0.mlp.deepspeed_moe.experts.deepspeed_experts.3.down_proj.weight"}},
      {TinyConfig("moe_llava_qwen"),
       {"transformer.h.1.attn.c_attn.bias", "transformer.h.1.mlp.w2.weight",
        "transformer.h.2.mlp.deepspeed_moe.experts.deepspeed_experts.0.w1.weight",
        "transformer.ln_f.weight"}},
      {With(TinyConfig("moe_llava_mistral"), {{"num_key_value_heads", 2}}),
       {"model.layers.2.self_attn.k_proj.weight", "model.layers.1.mlp.gate_proj.weight"}},
      {TinyConfig("moe_llava_minicpm"), {"model.layers.0.post_attention_layernorm.weight"}},
  };
  for (const auto& [config, names] : cases) {
    const DecoderSpec spec = ReadSpec(config);
    const TinyDecoder whole(spec, kVocabulary);
    for (const std::string& name : names) {
      TinyDecoder without = whole;
      ASSERT_EQ(without.tensors().erase(name), 1u) << name;
      const absl::Status missing = Load(spec, without).status();
      EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound) << name;
      EXPECT_NE(StatusMessage(missing).find(name), std::string_view::npos) << missing;

      TinyDecoder misshapen = whole;
      TinyDecoder::Weights& weights = misshapen.tensors()[name];
      weights.dims.push_back(1);
      const absl::Status wrong = Load(spec, misshapen).status();
      EXPECT_EQ(wrong.code(), absl::StatusCode::kInvalidArgument) << name;
      EXPECT_NE(StatusMessage(wrong).find(name), std::string_view::npos) << wrong;
    }
  }
}

}  // namespace
}  // namespace tessera
