#include "engine/load/generation_config.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

class GenerationDefaultsTest : public ::testing::Test {
 protected:
  std::filesystem::path file() const { return directory_.path() / "generation_config.json"; }

  absl::StatusOr<GenerationDefaults> Read(const std::string& text,
                                          const GenerationDefaults& otherwise = {}) {
    testing::WriteFile(file(), text);
    warnings_.clear();
    return ReadGenerationDefaults(file(), otherwise, warnings_);
  }

  testing::TemporaryDirectory directory_;
  std::vector<std::string> warnings_;
};

const GenerationDefaults kOther = {
    .temperature = 0, .top_k = 3, .top_p = 0.4f, .min_p = 0.1f, .repetition_penalty = 10};

TEST_F(GenerationDefaultsTest, TakesWhatAFileNames) {
  const auto all =
      Read(R"({"do_sample": true, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.05,
                            "repetition_penalty": 1.05, "eos_token_id": [1, 2], "max_length": 99})",
           kOther);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(*all, (GenerationDefaults{0.7f, 20, 0.8f, 0.05f, 1.05f}));
}

TEST_F(GenerationDefaultsTest, WhatAsksForAnotherWayOfDecodingIsWarnedOf) {
  ASSERT_TRUE(
      Read(R"({"do_sample": true, "num_beams": 1, "no_repeat_ngram_size": 0, "typical_p": 1.0,
                       "min_new_tokens": null, "max_new_tokens": 2048, "pad_token_id": 3,
                       "transformers_version": "4.57.0"})")
          .ok());
  EXPECT_TRUE(warnings_.empty()) << warnings_[0];
  for (const char* field :
       {R"("num_beams": 4)", R"("no_repeat_ngram_size": 3)", R"("typical_p": 0.9)",
        R"("min_new_tokens": 5)", R"("min_length": 5)", R"("bad_words_ids": [[7]])",
        R"("suppress_tokens": [7])", R"("forced_eos_token_id": 7)", R"("guidance_scale": 1.5)",
        R"("encoder_repetition_penalty": 1.2)", R"("sequence_bias": [[[1], 2.0]])",
        R"("epsilon_cutoff": 0.1)", R"("exponential_decay_length_penalty": [1, 1.1])",
        R"("temperatur": 0.7)"}) {
    ASSERT_TRUE(Read(std::string("{") + field + "}").ok()) << field;
    const std::string key = std::string(field).substr(0, std::string(field).find(':'));
    ASSERT_EQ(warnings_.size(), 1u) << field;
    EXPECT_NE(warnings_[0].find(key), std::string::npos) << warnings_[0];
    EXPECT_NE(warnings_[0].find(file().string()), std::string::npos) << warnings_[0];
  }
}

TEST_F(GenerationDefaultsTest, TakesTheOthersWhereAFileNamesNothing) {
  EXPECT_EQ(*ReadGenerationDefaults(file(), kOther, warnings_), kOther) << "there is no file";
  EXPECT_EQ(*Read("{}", kOther), kOther);
  EXPECT_EQ(*Read(R"({"do_sample": null, "temperature": null, "top_k": null, "top_p": null,
                      "min_p": null, "repetition_penalty": null})",
                  kOther),
            kOther)
      << "null is absent";
}

TEST_F(GenerationDefaultsTest, IsGreedyUnlessTheFileAsksForSampling) {
  for (const char* sampling : {R"("do_sample": false, )", R"("do_sample": null, )", ""}) {
    const auto defaults =
        Read(std::string("{") + sampling + R"("temperature": 0.9, "top_p": 0.6})");
    ASSERT_TRUE(defaults.ok()) << defaults.status();
    EXPECT_EQ(defaults->temperature, 0);
    EXPECT_EQ(defaults->top_p, 0.6f) << "for requests that name a temperature alone";
  }
  EXPECT_EQ(Read(R"({"do_sample": true, "top_k": 0, "top_p": 0.5})")->temperature, 1)
      << "that of transformers";
  EXPECT_EQ(Read(R"({"do_sample": true, "temperature": 0.0})")->temperature, 0);
}

TEST_F(GenerationDefaultsTest, NamesFileFieldAndValueOfWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {{"do_sample", "1"},
                                                       {"temperature", "-0.1"},
                                                       {"temperature", "100.5"},
                                                       {"temperature", "\"0.7\""},
                                                       {"top_k", "-1"},
                                                       {"top_k", "2.5"},
                                                       {"top_k", "2147483648"},
                                                       {"top_p", "0"},
                                                       {"top_p", "1.01"},
                                                       {"min_p", "-0.5"},
                                                       {"min_p", "[0.5]"},
                                                       {"repetition_penalty", "0"},
                                                       {"repetition_penalty", "1e-60"},
                                                       {"repetition_penalty", "1e300"}};
  for (const auto& [field, value] : cases) {
    const absl::Status status = Read(std::string("{\"") + field + "\": " + value + "}").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field << " " << value;
    const std::string_view message = StatusMessage(status);
    EXPECT_TRUE(message.starts_with(file().string())) << message;
    EXPECT_NE(message.find(std::string("\"") + field + "\""), std::string_view::npos) << message;
  }
  EXPECT_EQ(StatusMessage(Read(R"({"top_p": 1.5})").status()),
            file().string() + ": \"top_p\" 1.5: must be a number in (0, 1]");
  EXPECT_FALSE(Read("[]").ok());
  EXPECT_FALSE(Read("{").ok());
}

TEST_F(GenerationDefaultsTest, RequestsKeepWhatTheySet) {
  SamplingParams params;
  params.temperature = 0;
  params.top_p = 1;
  ApplyDefaults({0.7f, 20, 0.8f, 0.05f, 1.05f}, params);
  EXPECT_EQ(params.temperature, 0.f);
  EXPECT_EQ(params.top_k, 20);
  EXPECT_EQ(params.top_p, 1.f);
  EXPECT_EQ(params.min_p, 0.05f);
  EXPECT_EQ(params.repetition_penalty, 1.05f);
}

}  // namespace
}  // namespace tessera
