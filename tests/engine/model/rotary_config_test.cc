// Rotary positions in every spelling of config.json.
#include "engine/model/rotary_config.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/model/arch/architectures.h"
#include "tests/testing/data_path.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

RotaryFamily Plain() { return {}; }
RotaryFamily Partial() {
  RotaryFamily family;
  family.share = 0.25;
  family.partial = true;
  family.share_key = "rope_pct";
  family.theta_key = "rotary_emb_base";
  return family;
}
RotaryFamily Axes() {
  RotaryFamily family;
  family.theta = std::nullopt;
  family.sections = {24, 20, 20};
  return family;
}
RotaryFamily Axial() {
  RotaryFamily family;
  family.type = "axial";
  return family;
}

absl::StatusOr<RotaryConfig> Read(const json& config, const RotaryFamily& family = Plain()) {
  JsonFields fields(config, "config.json");
  const RotaryConfig read = ReadRotary(fields, family);
  if (!fields.status().ok()) return fields.status();
  return read;
}

TEST(RotaryConfigTest, BothSpellingsSayTheSame) {
  const json same[] = {
      {{"rope_theta", 1e6}},
      {{"rope_theta", 1e6}, {"rope_scaling", nullptr}},
      {{"rope_theta", 1e6}, {"rope_scaling", {{"type", "default"}}}},
      {{"rope_theta", 1e6}, {"rope_scaling", {{"type", "default"}, {"rope_type", "default"}}}},
      {{"rope_parameters", {{"rope_theta", 1e6}, {"rope_type", "default"}}}},
      {{"rope_parameters", {{"rope_theta", 1000000}}}},
      {{"rope_theta", 1e6}, {"rope_parameters", {{"rope_theta", 1e6}}}},
      {{"rope_theta", 1e6}, {"rope_parameters", {{"rope_type", "default"}}}},
      {{"rope_theta", 1e6}, {"rope_parameters", {{"partial_rotary_factor", 1.0}}}},
      {{"rope_scaling", {{"rope_theta", 1e6}}}, {"rope_parameters", {{"rope_theta", 1e6}}}},
      {{"rope_parameters", {{"full_attention", {{"rope_theta", 1e6}, {"rope_type", "default"}}}}},
       {"layer_types", {"full_attention", "full_attention"}}},
      {{"rope_parameters",
        {{"full_attention", {{"rope_theta", 1e6}}}, {"sliding_attention", {{"rope_theta", 1e6}}}}}},
  };
  for (const json& config : same) {
    const auto read = Read(config);
    ASSERT_TRUE(read.ok()) << config << read.status();
    EXPECT_EQ(*read, (RotaryConfig{1e6, 1, {}})) << config;
  }
}

TEST(RotaryConfigTest, WhatIsMissingIsTheClasss) {
  for (const json& config :
       {json::object(), json{{"rope_scaling", nullptr}}, json{{"rope_parameters", json::object()}},
        json{{"rope_parameters", {{"rope_type", "default"}}}}}) {
    EXPECT_EQ(Read(config).value(), (RotaryConfig{10000, 1, {}})) << config;
  }
  EXPECT_EQ(Read(json::object(), Partial()).value(), (RotaryConfig{10000, 0.25, {}}));
  const json bare = {{"rope_scaling", {{"type", "mrope"}}}, {"rope_theta", 7}};
  EXPECT_EQ(Read(bare, Axes()).value(), (RotaryConfig{7, 1, {24, 20, 20}}));
  const absl::Status missing = Read(json::object(), Axes()).status();
  EXPECT_NE(StatusMessage(missing).find("\"rope_theta\": is missing"), std::string_view::npos);
}

TEST(RotaryConfigTest, AShareOfEachHeadStandsInEitherPlace) {
  for (const json& config :
       {json{{"rope_pct", 0.5}, {"rotary_emb_base", 50}},
        json{{"rope_pct", 0.5}, {"partial_rotary_factor", 0.5}, {"rope_theta", 50}},
        json{{"rope_parameters", {{"partial_rotary_factor", 0.5}, {"rope_theta", 50}}}}}) {
    EXPECT_EQ(Read(config, Partial()).value(), (RotaryConfig{50, 0.5, {}})) << config;
  }
}

TEST(RotaryConfigTest, RefusesByNameWhatIsNotServedOrContradictsItself) {
  const struct {
    json config;
    RotaryFamily family;
    std::vector<const char*> named;
  } cases[] = {
      {{{"rope_theta", 5}, {"rope_parameters", {{"rope_theta", 6}}}},
       Plain(),
       {"\"rope_parameters.rope_theta\"", "\"rope_theta\""}},
      {{{"rope_theta", 5}, {"rotary_emb_base", 6}},
       Partial(),
       {"\"rope_theta\"", "rotary_emb_base"}},
      {{{"rope_scaling", {{"rope_theta", 5}}}, {"rope_parameters", {{"rope_theta", 6}}}},
       Plain(),
       {"rope_scaling", "rope_parameters"}},
      {{{"rope_scaling", {{"type", "default"}, {"rope_type", "linear"}}}},
       Plain(),
       {"rope_scaling.type", "rope_type"}},
      {{{"rope_pct", 0.5}, {"partial_rotary_factor", 0.25}},
       Partial(),
       {"partial_rotary_factor", "rope_pct"}},
      {{{"partial_rotary_factor", 0.5}}, Plain(), {"partial_rotary_factor"}},
      {{{"rope_parameters", {{"partial_rotary_factor", 0.5}}}},
       Plain(),
       {"rope_parameters.partial_rotary_factor"}},
      {{{"rope_scaling", {{"factor", 2.0}}}}, Plain(), {"rope_scaling.factor"}},
      {{{"rope_scaling", {{"type", "mrope"}}}}, Plain(), {"rope_scaling.type", "mrope"}},
      {{{"rope_scaling", 7}}, Plain(), {"rope_scaling"}},
      {{{"rope_parameters", json::array()}}, Plain(), {"rope_parameters"}},
      {{{"rope_theta", 0}}, Plain(), {"rope_theta"}},
      {{{"rope_theta", "10000"}}, Plain(), {"rope_theta"}},
      {{{"rope_parameters", {{"full_attention", {{"rope_type", "yarn"}}}}}},
       Plain(),
       {"rope_parameters.full_attention.rope_type", "yarn"}},
      {{{"rope_parameters",
         {{"full_attention", {{"rope_theta", 1e6}}},
          {"sliding_attention", {{"rope_theta", 1e4}}}}}},
       Plain(),
       {"rope_parameters.sliding_attention"}},
      {{{"rope_parameters", {{"full_attention", {{"rope_theta", 1e6}}}, {"other", nullptr}}}},
       Plain(),
       {"rope_parameters.other"}},
      {{{"layer_types", {"full_attention", "sliding_attention"}}}, Plain(), {"layer_types"}},
      {{{"rope_theta", 5}, {"rope_scaling", {{"mrope_section", {1, 2}}}}},
       Axes(),
       {"rope_scaling.mrope_section"}},
      {{{"rope_theta", 5}, {"rope_scaling", {{"mrope_interleaved", false}}}},
       Axes(),
       {"rope_scaling.mrope_interleaved"}},
      {{{"rope_parameters", {{"rope_type", "axial"}}}}, Plain(), {"axial"}},
  };
  for (const auto& test : cases) {
    const absl::Status status = Read(test.config, test.family).status();
    EXPECT_FALSE(status.ok()) << test.config;
    for (const char* name : test.named) {
      EXPECT_NE(StatusMessage(status).find(name), std::string_view::npos) << name << ": " << status;
    }
  }
  EXPECT_TRUE(Read({{"rope_parameters", {{"rope_type", "axial"}}}}, Axial()).ok());
}

TEST(RotaryConfigTest, EveryScaledKindIsRefusedInEitherSpelling) {
  for (const char* type :
       {"linear", "dynamic", "yarn", "longrope", "su", "llama3", "ntk", "proportional"}) {
    for (const auto& [object, key] : {std::pair("rope_scaling", "type"),
                                      {"rope_scaling", "rope_type"},
                                      {"rope_parameters", "rope_type"},
                                      {"rope_parameters", "type"}}) {
      json config;
      config[object] = {{key, type}, {"factor", 2.0}, {"original_max_position_embeddings", 1024}};
      for (const RotaryFamily& family : {Plain(), Partial(), Axial()}) {
        const absl::Status status = Read(config, family).status();
        EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
        const std::string named = std::string("\"") + object + "." + key + "\" \"" + type + "\"";
        EXPECT_NE(StatusMessage(status).find(named), std::string_view::npos) << status;
      }
    }
  }
}

TEST(RotaryConfigTest, AnOddNumberOfDimsIsRefused) {
  DecoderSpec decoder;
  decoder.head_dim = 10;
  const json config = {{"rope_pct", 0.5}};
  JsonFields fields(config, "config.json");
  ReadRotary(fields, Partial(), decoder);
  EXPECT_FALSE(fields.status().ok());
}

}  // namespace
}  // namespace tessera
