// Low-rank experts in a decoder: LLaVA-MoLE's layers, small and with random weights, against double
// precision. How a release is read is in llava_mole_test.cc.
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/cpu/make_cpu_backend.h"
#include "engine/model/arch/backbone.h"
#include "engine/model/decoder.h"
#include "tests/testing/near.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tiny_decoder.h"

namespace tessera {
namespace {

using testing::TinyDecoder;

constexpr int32_t kVocabulary = 61;
constexpr int32_t kBlockSize = 8;
constexpr int32_t kRows = 29;
constexpr double kTolerance = 2e-5;  // relative, float32

// Three layers, the second one dense.
DecoderSpec LoraDecoder(int experts_per_token, bool router_bias) {
  DecoderSpec spec;
  spec.hidden = 48;
  spec.layers = 3;
  spec.heads = spec.kv_heads = 4;
  spec.head_dim = spec.rotary_dims = 12;
  spec.ffn = 40;
  spec.vocabulary_rows = kVocabulary;
  spec.norm = NormKind::kRmsNorm;
  spec.norm_bias = spec.qkv_bias = spec.attention_out_bias = spec.ffn_bias = false;
  spec.gated_ffn = true;
  spec.names = LlamaNames();
  spec.experts = {3, 0, 3};
  spec.lora = LoraSpec{.rank = 4, .scale = 2.5f};
  spec.router.experts_per_token = experts_per_token;
  spec.router.renormalize = experts_per_token == 1;
  spec.router_bias = router_bias;
  spec.names.router = "mlp.router";
  spec.names.lora_up = {"mlp.moe_gate.{expert}.", "mlp.moe_up.{expert}."};
  spec.names.lora_down = "mlp.moe_down.{expert}.";
  return spec;
}

std::vector<int32_t> SomeIds() {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < kRows; ++i) ids.push_back((i * i * 7 + 3 * i + 5) % kVocabulary);
  return ids;
}

// Rows [begin, end) of one prompt, which has the cache for itself.
Batch BatchOf(const std::vector<int32_t>& ids, int32_t begin, int32_t end) {
  Batch batch;
  for (int32_t row = begin; row < end; ++row) {
    batch.ids.push_back(ids[static_cast<size_t>(row)]);
    batch.positions.push_back(row);
    batch.slots.push_back(row);
    batch.logit_rows.push_back(row - begin);
  }
  batch.query_starts = {0, end - begin};
  batch.context_lengths = {end};
  batch.max_blocks = (end + kBlockSize - 1) / kBlockSize;
  for (int32_t block = 0; block < batch.max_blocks; ++block) batch.block_tables.push_back(block);
  batch.prompt_rows = {end - begin};
  batch.has_images = {false};
  return batch;
}

class DecoderLoraTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Decoder>> Load(const DecoderSpec& spec, const TinyDecoder& tiny) {
    tiny.Write(directory_.path());
    const auto checkpoint = Checkpoint::Open({{directory_.path()}}).value();
    WeightLoader loader(*backend_, *checkpoint, nullptr);
    auto decoder = Decoder::Load(spec, 256, RouterMode::kDeterministic, loader);
    unused_ = checkpoint->Unused();
    return decoder;
  }

  // Logits of all rows, computed in passes that end at `ends`.
  std::vector<float> Run(Decoder& decoder, const std::vector<int32_t>& ends) {
    const auto cache = KvCache::Allocate(*backend_, decoder.spec(), 16, kBlockSize).value();
    std::vector<float> logits;
    int32_t begin = 0;
    for (const int32_t end : ends) {
      const DecoderOutput output =
          decoder.Forward(*backend_, BatchOf(SomeIds(), begin, end), *cache, nullptr);
      EXPECT_EQ(output.expert_choices.size(), 2u) << "one per routed layer";
      const std::vector<float> some = backend_->DownloadFloats(output.logits);
      logits.insert(logits.end(), some.begin(), some.end());
      backend_->ResetArena();
      begin = end;
    }
    return logits;
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<Backend> backend_ = MakeCpuBackend({DType::kFloat32, 2}).value();
  std::vector<std::string> unused_;  // tensors, of the last Load()
};

TEST_F(DecoderLoraTest, ComputesWhatItsFormulasSay) {
  for (const int experts_per_token : {1, 2, 3}) {
    for (const bool router_bias : {false, true}) {
      SCOPED_TRACE(::testing::Message() << experts_per_token << " of 3, bias " << router_bias);
      const DecoderSpec spec = LoraDecoder(experts_per_token, router_bias);
      const TinyDecoder tiny(spec, kVocabulary);
      const auto decoder = Load(spec, tiny);
      ASSERT_TRUE(decoder.ok()) << decoder.status();
      EXPECT_EQ(unused_, std::vector<std::string>());
      const std::vector<float> logits = Run(**decoder, {kRows});
      EXPECT_TRUE(testing::Near(logits, tiny.Logits(SomeIds(), kRows, false), kTolerance));
      EXPECT_EQ(Run(**decoder, {1, 9, 28, kRows}), logits) << "in chunks";
    }
  }
}

// Each part changes the result: the case above could otherwise pass by both sides leaving it out.
TEST_F(DecoderLoraTest, EveryPartShows) {
  const DecoderSpec spec = LoraDecoder(1, true);
  const TinyDecoder whole(spec, kVocabulary);
  const testing::reference::Values expected = whole.Logits(SomeIds(), kRows, false);
  for (const char* name :
       {"mlp.router.weight", "mlp.router.bias", "mlp.moe_gate.0.lora_A", "mlp.moe_up.1.lora_B",
        "mlp.moe_down.2.lora_A", "mlp.down_proj.weight"}) {
    TinyDecoder changed = whole;
    for (float& value : changed.tensors().at(std::string("model.layers.2.") + name).values) {
      value = 0.5f - 2 * value;
    }
    EXPECT_NE(changed.Logits(SomeIds(), kRows, false), expected) << name;
    const auto decoder = Load(spec, changed);
    ASSERT_TRUE(decoder.ok()) << decoder.status();
    EXPECT_TRUE(
        testing::Near(Run(**decoder, {kRows}), changed.Logits(SomeIds(), kRows, false), kTolerance))
        << name;
  }
}

TEST_F(DecoderLoraTest, LoadingNamesTheTensorThatIsMissingOrOfAnotherShape) {
  const DecoderSpec spec = LoraDecoder(1, true);
  const TinyDecoder whole(spec, kVocabulary);
  for (const std::string name :
       {"model.layers.0.mlp.router.bias", "model.layers.2.mlp.moe_up.1.lora_A",
        "model.layers.0.mlp.moe_down.2.lora_B", "model.layers.2.mlp.gate_proj.weight"}) {
    TinyDecoder without = whole;
    ASSERT_EQ(without.tensors().erase(name), 1u) << name;
    const absl::Status missing = Load(spec, without).status();
    EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound) << name;
    EXPECT_NE(StatusMessage(missing).find(name), std::string_view::npos) << missing;

    TinyDecoder misshapen = whole;
    misshapen.tensors()[name].dims.push_back(1);
    const absl::Status wrong = Load(spec, misshapen).status();
    EXPECT_EQ(wrong.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_NE(StatusMessage(wrong).find(name), std::string_view::npos) << wrong;
  }
}

}  // namespace
}  // namespace tessera
