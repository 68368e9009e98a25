// Flags that cannot be served are told from config.json alone.
#include "engine/load/option_check.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "engine/base/status.h"
#include "engine/cpu/make_cpu_backend.h"
#include "engine/model/arch/architectures.h"
#include "engine/model/kv_cache.h"

namespace tessera {
namespace {

constexpr int64_t kMemory = int64_t{8} << 30;

class OptionCheckTest : public ::testing::Test {
 protected:
  std::string Check(const EngineOptions& options) const {
    return std::string(StatusMessage(CheckOptions(*backend_, model_, options, kMemory)));
  }

  const std::unique_ptr<Backend> backend_ = *MakeCpuBackend({});
  static ModelOptions Demo() {
    ModelOptions model;
    model.model_dir = TESSERA_SOURCE_DIR "/models/demo/checkpoint";
    model.vision_tower_dir = TESSERA_SOURCE_DIR "/models/demo/vision_tower";
    return model;
  }

  const ModelOptions model_ = Demo();
  const ModelSpec spec_ = *ReadModelSpec({model_.model_dir, model_.vision_tower_dir, {}});
};

TEST_F(OptionCheckTest, WhatTheModelAllowsPasses) {
  EXPECT_EQ(Check({}), "");
  EngineOptions options;
  options.max_context = spec_.max_context;
  options.kv_cache_bytes = kMemory;
  EXPECT_EQ(Check(options), "");
}

TEST_F(OptionCheckTest, AContextOverTheModels) {
  EngineOptions options;
  options.max_context = spec_.max_context + 1;
  EXPECT_EQ(Check(options), "--max-context " + std::to_string(spec_.max_context + 1) +
                                ": the model's context has " + std::to_string(spec_.max_context) +
                                " tokens at most");
}

TEST_F(OptionCheckTest, ACacheSmallerThanAContext) {
  const int64_t per_token = KvCache::BlockBytes(spec_.decoder, 1, DType::kFloat32);
  EngineOptions options;
  options.max_context = 1000;  // 63 blocks of 16
  options.kv_cache_bytes = 1008 * per_token;
  EXPECT_EQ(Check(options), "");
  --options.kv_cache_bytes;
  const std::string told = Check(options);
  EXPECT_NE(told.find("--kv-cache-mib"), std::string::npos) << told;
  EXPECT_NE(told.find("one context of 1000 tokens"), std::string::npos) << told;
}

TEST_F(OptionCheckTest, ACacheLargerThanMemory) {
  EngineOptions options;
  options.kv_cache_bytes = kMemory + (1 << 20);
  EXPECT_EQ(Check(options), "--kv-cache-mib 8193: there are 8192 MiB of memory");
}

TEST_F(OptionCheckTest, ADTypeThatTheDeviceHasNoCacheOf) {
  EngineOptions options;
  options.kv_dtype = DType::kFloat8;
  EXPECT_NE(Check(options), "");
}

}  // namespace
}  // namespace tessera
