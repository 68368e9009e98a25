#include "engine/prompt/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/testing/data_path.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;

std::string ReadTemplate(const std::string& name) {
  std::ifstream file(testing::DataPath("golden/chat_templates") / name);
  return {std::istreambuf_iterator<char>(file), {}};
}

class ChatTemplateTest : public ::testing::Test {
 protected:
  void Write(const std::string& file, const std::string& text) const {
    testing::WriteFile(directory_.path() / file, text);
  }
  // Whether `file` is warned of, and nothing else.
  void ExpectWarning(PromptFormat format, const std::string& file) const {
    const auto warnings = CheckChatTemplates(directory_.path(), format);
    ASSERT_EQ(warnings.size(), 1u) << file;
    EXPECT_TRUE(warnings[0].starts_with((directory_.path() / file).string() + ": ")) << warnings[0];
    EXPECT_NE(warnings[0].find("is not the model family's own"), std::string::npos) << warnings[0];
    std::filesystem::remove(directory_.path() / file);
  }
  size_t Warnings(PromptFormat format) const {
    return CheckChatTemplates(directory_.path(), format).size();
  }
  testing::TemporaryDirectory directory_;
};

// One that opens the answer inside a thought and drops past ones.
TEST_F(ChatTemplateTest, AnotherTemplateIsWarnedOfWhereverItStands) {
  const std::string thinking = ReadTemplate("thinking.jinja");
  ASSERT_FALSE(thinking.empty());
  for (const PromptFormat format : {PromptFormat::kQwen3Vl, PromptFormat::kLlavaHf}) {
    Write("chat_template.jinja", thinking);
    ExpectWarning(format, "chat_template.jinja");
    for (const char* file :
         {"chat_template.json", "processor_config.json", "tokenizer_config.json"}) {
      Write(file, json{{"chat_template", thinking}}.dump());
      ExpectWarning(format, file);
      Write(file, json{{"chat_template",
                        {{{"name", "tool_use"}, {"template", "x"}},
                         {{"name", "default"}, {"template", thinking}}}}}
                      .dump());
      ExpectWarning(format, file);
    }
  }
}

TEST_F(ChatTemplateTest, TheFamilysOwnIsNot) {
  const std::string own = ReadTemplate("llava_hf.jinja");
  ASSERT_FALSE(own.empty());
  EXPECT_EQ(Warnings(PromptFormat::kLlavaHf), 0u);
  Write("chat_template.jinja", own + "\r\n");
  Write("chat_template.json", json{{"chat_template", own}}.dump());
  Write("processor_config.json", json{{"processor_class", "LlavaProcessor"}}.dump());
  Write("tokenizer_config.json", json{{"chat_template", nullptr}}.dump());
  EXPECT_EQ(Warnings(PromptFormat::kLlavaHf), 0u);
  EXPECT_EQ(Warnings(PromptFormat::kQwen3Vl), 2u);
  Write("chat_template.jinja", own + "{{ '<think>' }}");
  EXPECT_EQ(Warnings(PromptFormat::kLlavaHf), 1u);
}

// Their code has no templates: what a base model left in its tokenizer's file is not theirs.
TEST_F(ChatTemplateTest, FamiliesWithoutTemplatesIgnoreTheTokenizers) {
  Write("tokenizer_config.json", json{{"chat_template", "{{ bos_token }}"}}.dump());
  EXPECT_EQ(Warnings(PromptFormat::kPhi), 0u);
  Write("chat_template.jinja", "{{ bos_token }}");
  ExpectWarning(PromptFormat::kPhi, "chat_template.jinja");
}

TEST_F(ChatTemplateTest, WhatCannotBeReadIsWarnedOf) {
  Write("chat_template.jinja", "");
  Write("chat_template.json", R"({"chat_template": 7})");
  const auto warnings = CheckChatTemplates(directory_.path(), PromptFormat::kQwen3Vl);
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_NE(warnings[0].find("chat_template.jinja: is empty"), std::string::npos) << warnings[0];
  EXPECT_NE(warnings[1].find("neither a text nor one named default"), std::string::npos);
}

}  // namespace
}  // namespace tessera
