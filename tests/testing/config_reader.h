// Reads ModelSpecs from config.json and the files of vision towers as a test writes them.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/model/arch/architectures.h"
#include "tests/testing/temporary_directory.h"

namespace tessera::testing {

// config.json of LanguageBind/MoE-LLaVA-Phi2-2.7B-4e, without keys that concern training.
nlohmann::json PublishedPhi();

class ConfigReader : public ::testing::Test {
 protected:
  absl::StatusOr<ModelSpec> Read(const nlohmann::json& config,
                                 const VisionTowerDir& tower = {}) const;
  absl::StatusOr<ModelSpec> ReadWithTower(const nlohmann::json& config, const nlohmann::json& tower,
                                          const nlohmann::json& processor) const;

  TemporaryDirectory directory_;
  const std::filesystem::path config_path_ = directory_.path() / "config.json";
};

}  // namespace tessera::testing
