// Replays every corpus of tests/fuzz/corpus through its fuzz target: seeds, and inputs that once
// broke something.
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "tests/testing/data_path.h"

// Each target's LLVMFuzzerTestOneInput, renamed by CMake.
extern "C" {
int config_fuzz(const uint8_t* data, size_t size);
int image_fuzz(const uint8_t* data, size_t size);
int safetensors_fuzz(const uint8_t* data, size_t size);
int sentencepiece_fuzz(const uint8_t* data, size_t size);
int tiktoken_fuzz(const uint8_t* data, size_t size);
int tokenizer_config_fuzz(const uint8_t* data, size_t size);
int tokenizer_json_fuzz(const uint8_t* data, size_t size);
int torch_archive_fuzz(const uint8_t* data, size_t size);
}

namespace tessera::fuzz {
namespace {

namespace fs = std::filesystem;

struct Target {
  const char* corpus;
  int (*run)(const uint8_t* data, size_t size);
};
constexpr Target kTargets[] = {
    {"config", config_fuzz},
    {"image", image_fuzz},
    {"safetensors", safetensors_fuzz},
    {"sentencepiece", sentencepiece_fuzz},
    {"tiktoken", tiktoken_fuzz},
    {"tokenizer_config", tokenizer_config_fuzz},
    {"tokenizer_json", tokenizer_json_fuzz},
    {"torch_archive", torch_archive_fuzz},
};

TEST(FuzzReplay, EveryCorpusPasses) {
  const fs::path corpora = testing::DataPath("fuzz/corpus");
  std::set<std::string> known;
  for (const Target& target : kTargets) {
    known.insert(target.corpus);
    int inputs = 0;
    for (const auto& file : fs::directory_iterator(corpora / target.corpus)) {
      std::ifstream stream(file.path(), std::ios::binary);
      std::ostringstream bytes;
      bytes << stream.rdbuf();
      const std::string text = bytes.str();
      SCOPED_TRACE(file.path().string());
      EXPECT_EQ(target.run(reinterpret_cast<const uint8_t*>(text.data()), text.size()), 0);
      ++inputs;
    }
    EXPECT_GT(inputs, 0) << target.corpus;
  }
  for (const auto& directory : fs::directory_iterator(corpora)) {
    EXPECT_TRUE(known.contains(directory.path().filename())) << directory.path();
  }
}

}  // namespace
}  // namespace tessera::fuzz
