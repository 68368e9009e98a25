// Qwen3-MoE and Qwen3-VL-MoE: what config.json may say, and that every layout of the experts gives
// the same model.
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/cpu/make_cpu_backend.h"
#include "engine/load/loaded_model.h"
#include "engine/model/arch/architectures.h"
#include "tests/testing/data_path.h"
#include "tests/testing/safetensors_writer.h"
#include "tests/testing/temporary_directory.h"

namespace tessera {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

fs::path Golden() { return testing::DataPath("golden/models/qwen3_vl_moe/model"); }

json GoldenConfig() { return ReadJsonFile(Golden() / "config.json").value(); }

using Rewrite = std::function<void(const std::string& name, const StoredTensor& tensor,
                                   testing::SafetensorsWriter& writer)>;

void Keep(const std::string& name, const StoredTensor& tensor, testing::SafetensorsWriter& writer) {
  writer.Add(name, tensor.type, tensor.dims,
             {static_cast<const char*>(tensor.data), static_cast<size_t>(tensor.bytes)});
}

// The last two of three axes exchanged, of 16-bit values.
std::vector<uint16_t> Transposed(const StoredTensor& tensor) {
  const auto* from = static_cast<const uint16_t*>(static_cast<const void*>(tensor.data));
  const int64_t rows = tensor.dims[1];
  const int64_t cols = tensor.dims[2];
  std::vector<uint16_t> to;
  for (int64_t e = 0; e < tensor.dims[0]; ++e) {
    for (int64_t c = 0; c < cols; ++c) {
      for (int64_t r = 0; r < rows; ++r) to.push_back(from[(e * rows + r) * cols + c]);
    }
  }
  return to;
}

std::string_view Bytes(const std::vector<uint16_t>& values, size_t begin, size_t count) {
  return {reinterpret_cast<const char*>(values.data() + begin), 2 * count};
}

class Qwen3Test : public ::testing::Test {
 protected:
  // The golden model with other tensors and config.
  ModelOptions Write(const Rewrite& rewrite, const json& config = GoldenConfig()) {
    for (const auto& file : fs::directory_iterator(Golden())) {
      const fs::path to = directory_.path() / file.path().filename();
      if (to.extension() != ".safetensors")
        fs::copy(file, to, fs::copy_options::overwrite_existing);
    }
    testing::WriteFile(directory_.path() / "config.json", config.dump());
    const auto checkpoint = Checkpoint::Open({{Golden()}}).value();
    testing::SafetensorsWriter writer;
    for (const auto& [name, tensor] : checkpoint->tensors()) rewrite(name, tensor, writer);
    writer.Write(directory_.path() / "model.safetensors");
    ModelOptions options;
    options.model_dir = directory_.path();
    return options;
  }
  absl::Status Refused(const std::function<void(json&)>& change) {
    json config = GoldenConfig();
    change(config);
    testing::WriteFile(directory_.path() / "config.json", config.dump());
    fs::copy(Golden() / "preprocessor_config.json", directory_.path() / "preprocessor_config.json",
             fs::copy_options::overwrite_existing);
    return ReadModelSpec({directory_.path(), {}, {}}).status();
  }

  testing::TemporaryDirectory directory_;
};

// Logits of a prompt of text.
absl::StatusOr<std::vector<float>> Logits(const ModelOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, MakeCpuBackend({}));
  ASSIGN_OR_RETURN(const std::unique_ptr<LoadedModel> model, LoadModel(*backend, options, nullptr));
  if (!model->unused_tensors.empty()) {
    return absl::InternalError(model->unused_tensors[0] + " is not used");
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<KvCache> cache,
                   KvCache::Allocate(*backend, model->spec.decoder, 1, 16));
  Batch batch;
  batch.ids = {5, 17, 300, 41};
  for (int axis = 0; axis < 3; ++axis) {
    batch.positions.insert(batch.positions.end(), {0, 1, 2, 3});
  }
  batch.slots = {0, 1, 2, 3};
  batch.query_starts = {0, 4};
  batch.context_lengths = {4};
  batch.block_tables = {0};
  batch.max_blocks = 1;
  batch.prompt_rows = {4};
  batch.has_images = {false};
  batch.logit_rows = {3};
  return backend->DownloadFloats(model->decoder->Forward(*backend, batch, *cache, nullptr).logits);
}

TEST_F(Qwen3Test, EveryLayoutOfTheExpertsIsTheSameModel) {
  ModelOptions published;
  published.model_dir = Golden();
  const auto expected = Logits(published);
  ASSERT_TRUE(expected.ok()) << expected.status();

  const auto out_first = Logits(Write(
      [](const std::string& name, const StoredTensor& tensor, testing::SafetensorsWriter& writer) {
        if (name.find("mlp.experts.") == std::string::npos) return Keep(name, tensor, writer);
        const auto values = Transposed(tensor);
        writer.Add(name, tensor.type, {tensor.dims[0], tensor.dims[2], tensor.dims[1]},
                   Bytes(values, 0, values.size()));
      }));
  ASSERT_TRUE(out_first.ok()) << out_first.status();
  EXPECT_EQ(*out_first, *expected);

  const auto apart = Logits(Write([](const std::string& name, const StoredTensor& tensor,
                                     testing::SafetensorsWriter& writer) {
    const size_t at = name.find("mlp.experts.");
    if (at == std::string::npos) return Keep(name, tensor, writer);
    const auto values = Transposed(tensor);
    const std::string prefix = name.substr(0, at + 12);
    const bool up = name.ends_with("gate_up_proj");
    const int64_t rows = up ? tensor.dims[2] / 2 : tensor.dims[2];
    const int64_t in = tensor.dims[1];
    const auto size = static_cast<size_t>(rows * in);
    size_t begin = 0;
    for (int64_t e = 0; e < tensor.dims[0]; ++e) {
      for (const char* part : up ? std::vector{"gate_proj", "up_proj"} : std::vector{"down_proj"}) {
        writer.Add(prefix + std::to_string(e) + "." + part + ".weight", tensor.type, {rows, in},
                   Bytes(values, begin, size));
        begin += size;
      }
    }
  }));
  ASSERT_TRUE(apart.ok()) << apart.status();
  EXPECT_EQ(*apart, *expected);

  const auto older = Logits(
      Write([](std::string name, const StoredTensor& tensor, testing::SafetensorsWriter& writer) {
        for (const std::string prefix : {"model.language_model.", "model.visual."}) {
          if (!name.starts_with(prefix)) continue;
          name = (prefix[6] == 'v' ? "visual." : "model.") + name.substr(prefix.size());
        }
        Keep(name, tensor, writer);
      }));
  ASSERT_TRUE(older.ok()) << older.status();
  EXPECT_EQ(*older, *expected);
}

TEST_F(Qwen3Test, AFusedTensorThatIsMissingOrMisshapenIsNamed) {
  const std::string wrong = "model.language_model.layers.0.mlp.experts.gate_up_proj";
  const absl::Status missing = Logits(Write([&](const std::string& name, const StoredTensor& tensor,
                                                testing::SafetensorsWriter& writer) {
                                 if (name != wrong) Keep(name, tensor, writer);
                               })).status();
  EXPECT_FALSE(missing.ok());
  EXPECT_NE(StatusMessage(missing).find("layers.0.mlp.experts.gate_up_proj"), std::string::npos)
      << missing;
  const absl::Status misshapen = Logits(Write([&](const std::string& name, StoredTensor tensor,
                                                  testing::SafetensorsWriter& writer) {
                                   if (name == wrong) std::swap(tensor.dims[0], tensor.dims[1]);
                                   Keep(name, tensor, writer);
                                 })).status();
  EXPECT_FALSE(misshapen.ok());
  EXPECT_NE(StatusMessage(misshapen).find("layers.0.mlp.experts.gate_up_proj"), std::string::npos)
      << misshapen;
  EXPECT_NE(StatusMessage(misshapen).find("[8, 32, 48]"), std::string::npos) << misshapen;
}

TEST_F(Qwen3Test, ReadsWhatTransformers5Writes) {
  json config = GoldenConfig();
  json& text = config["text_config"];
  text["rope_parameters"] = text["rope_scaling"];
  text["rope_parameters"]["rope_theta"] = text["rope_theta"];
  text["num_local_experts"] = text["num_experts"];
  text["tie_word_embeddings"] = true;  // wrong there: only the top level counts
  for (const char* key : {"rope_scaling", "rope_theta", "num_experts"}) text.erase(key);
  config["vision_config"]["model_type"] = "qwen3_vl_moe_vision";
  const auto logits = Logits(Write(Keep, config));
  ASSERT_TRUE(logits.ok()) << logits.status();
  ModelOptions published;
  published.model_dir = Golden();
  EXPECT_EQ(*logits, Logits(published).value());
}

TEST_F(Qwen3Test, ExpertsStandWhereTheConfigSays) {
  json config = GoldenConfig();
  config["text_config"]["decoder_sparse_step"] = 2;
  config["text_config"]["mlp_only_layers"] = {3};
  testing::WriteFile(directory_.path() / "config.json", config.dump());
  fs::copy(Golden() / "preprocessor_config.json", directory_.path() / "preprocessor_config.json");
  const auto spec = ReadModelSpec({directory_.path(), {}, {}});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->decoder.experts, (std::vector<int>{0, 8, 0, 0}));
}

// More rows than a slice must have, of images that end inside one; every turn of every layer is
// cut.
TEST_F(Qwen3Test, ImagesEncodedInSlicesHaveTheBitsOfTheWhole) {
  const auto backend = MakeCpuBackend({}).value();
  ModelOptions published;
  published.model_dir = Golden();
  const auto model = LoadModel(*backend, published, nullptr).value();
  std::vector<PreparedImage> images(2);
  for (PreparedImage& image : images) {
    image.grid = {14, 24};
    for (int64_t i = 0; i < image.grid.patches() * 3 * 2 * 16 * 16; ++i) {
      image.patches.push_back(static_cast<float>(i * (i % 7 + 1) % 1001) / 500.0f - 1.0f);
    }
  }
  const PreparedImage* const both[] = {&images[0], &images[1]};
  std::vector<std::vector<float>> features;
  for (const double flops : {std::numeric_limits<double>::infinity(), 0.0}) {
    auto batch = model->vision->Begin(*backend, both);
    ASSERT_TRUE(batch.ok()) << batch.status();
    int slices = 0;
    for (; !model->vision->Done(*batch); ++slices) {
      ASSERT_TRUE(model->vision->Advance(*backend, *batch, flops).ok());
      backend->ResetArena();
    }
    EXPECT_EQ(slices, flops > 0 ? 1 : 3 * 2 * 3)
        << "672 rows in slices of 256, two turns, 3 layers";
    features.push_back(
        backend->DownloadFloats((*model->vision->Finish(*backend, *batch))->tensor()));
    backend->ResetArena();
  }
  EXPECT_EQ(features[0].size(), size_t{3} * 2 * 7 * 12 * 32) << "rows of the image and of two taps";
  EXPECT_EQ(features[1], features[0]);
}

TEST_F(Qwen3Test, RefusesWhatItCannotServe) {
  const std::pair<std::function<void(json&)>, const char*> cases[] = {
      {[](json& c) {
         c["quantization_config"] = {{"quant_method", "fp8"}};
       },
       "quantization_config"},
      {[](json& c) { c["text_config"]["rope_scaling"]["rope_type"] = "yarn"; }, "rope_type"},
      {[](json& c) {
         c["text_config"]["rope_scaling"]["mrope_section"] = {4, 2, 3};
       },
       "mrope_section"},
      {[](json& c) {
         c["text_config"]["rope_scaling"]["mrope_section"] = {4, 4};
       },
       "mrope_section"},
      {[](json& c) { c["text_config"]["rope_scaling"]["mrope_interleaved"] = false; },
       "mrope_interleaved"},
      {[](json& c) { c["text_config"].erase("num_key_value_heads"); }, "num_key_value_heads"},
      {[](json& c) { c["text_config"]["num_experts_per_tok"] = 9; }, "num_experts_per_tok"},
      {[](json& c) { c["vision_config"]["patch_size"] = 14; }, "patch_size"},
      {[](json& c) { c["vision_config"]["out_hidden_size"] = 64; }, "out_hidden_size"},
      {[](json& c) { c["vision_config"]["num_position_embeddings"] = 26; },
       "num_position_embeddings"},
      {[](json& c) {
         c["vision_config"]["deepstack_visual_indexes"] = {0, 3};
       },
       "deepstack_visual_indexes"},
  };
  for (const auto& [change, named] : cases) {
    const absl::Status status = Refused(change);
    EXPECT_FALSE(status.ok()) << named;
    EXPECT_NE(StatusMessage(status).find(named), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace tessera
