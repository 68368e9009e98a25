#include "engine/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <functional>

#include "engine/base/status.h"
#include "tests/testing/data_path.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_cases.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;
using testing::TokenizerFiles;
using Ids = std::vector<int32_t>;

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadSlow(const TokenizerFiles& files) {
  const testing::TemporaryDirectory directory;
  files.WriteSlow(directory.path());
  return Tokenizer::Load(directory.path());
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadFast(const json& file) {
  const testing::TemporaryDirectory directory;
  testing::WriteFile(directory.path() / "tokenizer.json", file.dump());
  return Tokenizer::Load(directory.path());
}

// Ids: 256 "th", 257 "Ġth", 258 "<|end|>" (special), 259 two spaces.
TokenizerFiles SmallFiles(const std::string& tokenizer_class) {
  TokenizerFiles files = TokenizerFiles::Make(tokenizer_class, {"t h", "Ġ th"});
  files.AddToken("<|end|>", /*special=*/true);
  files.AddToken("  ", /*special=*/false);
  return files;
}

TEST(TokenizerTest, GivesWhatTheOfficialLibraryGives) {
  const auto result =
      testing::RunTokenizerCases(testing::DataPath("golden/tokenizers/gpt2like_phi"));
  EXPECT_GT(result.passed, 2600);
  for (const std::string& failure : result.failures) ADD_FAILURE() << failure;
}

TEST(TokenizerTest, ModesDecideWhichAddedTokensAreFound) {
  const auto loaded = LoadSlow(SmallFiles("CodeGenTokenizer"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Tokenizer& tokenizer = **loaded;
  const std::string text = "th<|end|>  th";
  const Ids end = {'<', '|', 'e', 'n', 'd', '|', '>'};
  const auto with_end_as_text = [&](Ids after) {
    Ids ids = {256};
    ids.insert(ids.end(), end.begin(), end.end());
    ids.insert(ids.end(), after.begin(), after.end());
    return ids;
  };
  EXPECT_EQ(tokenizer.Encode(text, SpecialTokens::kParse), (Ids{256, 258, 259, 256}));
  EXPECT_EQ(tokenizer.Encode(text, SpecialTokens::kText), with_end_as_text({259, 256}));
  EXPECT_EQ(tokenizer.Encode(text, SpecialTokens::kNone), with_end_as_text({' ', 257}));
}

TEST(TokenizerTest, SpansAreOneTextButKeepTheirTrust) {
  const auto loaded = LoadSlow(SmallFiles("CodeGenTokenizer"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const auto encode = [&](std::vector<TextSpan> spans) { return (*loaded)->Encode(spans); };
  constexpr auto kText = SpecialTokens::kText, kParse = SpecialTokens::kParse;
  EXPECT_EQ(encode({{"x ", kParse}, {"th", kText}}), (Ids{'x', 257}));
  EXPECT_EQ(encode({{"x ", kParse}, {" th", kText}}), (Ids{'x', 259, 256}));
  EXPECT_EQ(encode({{"<|end|>", kParse}, {"th", kText}}), (Ids{258, 256}));
  EXPECT_EQ(encode({{"<|en", kParse}, {"d|>", kParse}}), (Ids{258}));
  EXPECT_EQ(encode({{"<|en", kParse}, {"d|>", kText}}).size(), 7u);
  EXPECT_EQ(encode({{"<|en", kText}, {"d|>", kParse}}).size(), 7u);
  EXPECT_EQ(encode({{"<|en", kText}, {"d|>", kText}}).size(), 7u);
  EXPECT_EQ(encode({{"<", kText}, {"<|end|>", kParse}, {">", kText}}), (Ids{'<', 258, '>'}));
}

TEST(TokenizerTest, SlowClassesWriteTokensThatOnlyCallThemselvesSpecial) {
  const TokenizerFiles files = SmallFiles("CodeGenTokenizer");
  const auto slow = LoadSlow(files);
  ASSERT_TRUE(slow.ok()) << slow.status();
  EXPECT_EQ((*slow)->Encode("<|end|>", SpecialTokens::kText).size(), 7u);
  EXPECT_EQ((*slow)->Decode(Ids{256, 258}, /*skip_special=*/true), "th<|end|>");
  const auto fast = LoadFast(files.Fast());
  ASSERT_TRUE(fast.ok()) << fast.status();
  EXPECT_EQ((*fast)->Decode(Ids{256, 258}, /*skip_special=*/true), "th");
}

TEST(TokenizerTest, DescribesItsTokens) {
  TokenizerFiles files = SmallFiles("CodeGenTokenizer");
  files.config["additional_special_tokens"] = {"<|end|>"};
  const auto loaded = LoadSlow(files);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Tokenizer& tokenizer = **loaded;
  EXPECT_EQ(tokenizer.vocabulary(), 260);
  EXPECT_EQ(tokenizer.TokenBytes(257), " th");
  EXPECT_EQ(tokenizer.TokenBytes(0xE6), "\xE6");
  EXPECT_EQ(tokenizer.TokenBytes(260), "");
  EXPECT_EQ(tokenizer.TokenBytes(-200), "");
  EXPECT_TRUE(tokenizer.IsSpecial(258));
  EXPECT_FALSE(tokenizer.IsSpecial(259));
  EXPECT_FALSE(tokenizer.IsSpecial(-1));
  EXPECT_EQ(tokenizer.FindToken("<|end|>"), 258);
  EXPECT_EQ(tokenizer.FindToken("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer.eos(), std::nullopt);
  EXPECT_FALSE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.Decode(Ids{256, 258, 257}, true), "th th");
  EXPECT_EQ(tokenizer.Decode(Ids{256, 258, 257}, false), "th<|end|> th");
  EXPECT_EQ(tokenizer.Decode(Ids{0xE6, 0xB8}, true), "\uFFFD");
}

TEST(TokenizerTest, NamedTokensHaveRoles) {
  TokenizerFiles files = SmallFiles("GPT2Tokenizer");
  files.config["eos_token"] = "<|end|>";
  files.config["bos_token"] = {{"content", "th"}, {"lstrip", false}};
  files.config["pad_token"] = "<|new|>";  // in no file: the next id
  files.config["add_bos_token"] = true;
  const auto loaded = LoadSlow(files);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->eos(), 258);
  EXPECT_EQ((*loaded)->bos(), 256);
  EXPECT_EQ((*loaded)->pad(), 260);
  EXPECT_TRUE((*loaded)->IsSpecial(256));
  EXPECT_TRUE((*loaded)->adds_bos());
  EXPECT_EQ((*loaded)->Encode("<|new|>", SpecialTokens::kParse), (Ids{260}));
}

TEST(TokenizerTest, NormalizationComesBeforeSpecialStringsInTheSlowClassOnly) {
  const TokenizerFiles files = SmallFiles("Qwen2Tokenizer");
  const std::string text = "<|end|>\u0338";
  const auto slow = LoadSlow(files);
  ASSERT_TRUE(slow.ok()) << slow.status();
  EXPECT_EQ((*slow)->Encode(text, SpecialTokens::kParse),
            (Ids{'<', '|', 'e', 'n', 'd', '|', 0xE2, 0x89, 0xAF}));
  const auto fast = LoadFast(files.Fast());
  ASSERT_TRUE(fast.ok()) << fast.status();
  EXPECT_EQ((*fast)->Encode(text, SpecialTokens::kParse), (Ids{258, 0xCC, 0xB8}));
  for (const auto* loaded : {&slow, &fast}) {
    EXPECT_EQ((**loaded)->Encode("e\u0301<|end|> th", SpecialTokens::kParse),
              (Ids{0xC3, 0xA9, 258, 257}));
  }
}

TEST(TokenizerTest, OnlyTheFirstLineOfMergesIsAComment) {
  const auto loaded = LoadSlow(TokenizerFiles::Make("GPT2Tokenizer", {"# #", "## version"}));
  EXPECT_FALSE(loaded.ok());  // "version" is no token: the line is read as a merge
  const auto hashes = LoadSlow(TokenizerFiles::Make("GPT2Tokenizer", {"# #", "## #"}));
  ASSERT_TRUE(hashes.ok()) << hashes.status();
  EXPECT_EQ((*hashes)->Encode("###", SpecialTokens::kNone), (Ids{257}));
}

TEST(TokenizerTest, MergesAsPairsAndBosFromATemplate) {
  TokenizerFiles files = SmallFiles("GPT2Tokenizer");
  json file = files.Fast();
  file["model"]["merges"] = json::parse(R"([["t", "h"], ["Ġ", "th"]])");
  file["post_processor"] = json::parse(R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<|end|>"}}, {"Sequence": {"id": "A"}}]})");
  const testing::TemporaryDirectory directory;
  testing::WriteFile(directory.path() / "tokenizer.json", file.dump());
  testing::WriteFile(directory.path() / "special_tokens_map.json", R"({"bos_token": "<|end|>"})");
  const auto loaded = Tokenizer::Load(directory.path());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->Encode(" th", SpecialTokens::kNone), (Ids{257}));
  EXPECT_EQ((*loaded)->bos(), 258);
  EXPECT_TRUE((*loaded)->adds_bos());
}

TEST(TokenizerTest, WholeWordsWithoutMergesAreNeverControlTokens) {
  TokenizerFiles files = TokenizerFiles::Make("GPT2Tokenizer", {"t h", "x y"});
  files.merges.clear();
  files.AddToken("xy", /*special=*/true);
  json file = files.Fast();
  file["model"]["ignore_merges"] = true;
  const auto loaded = LoadFast(file);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->Encode("th", SpecialTokens::kText), (Ids{256}));
  EXPECT_EQ((*loaded)->Encode("xy", SpecialTokens::kText), (Ids{'x', 'y'}));
  EXPECT_EQ((*loaded)->Encode("xy", SpecialTokens::kParse), (Ids{257}));
}

struct BadSlowFile {
  std::string name;
  std::function<void(TokenizerFiles*)> spoil;
  absl::StatusCode code;
  std::string message;  // a part of it
};

TEST(TokenizerTest, BrokenSlowFilesAreNamed) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  const BadSlowFile cases[] = {
      {"duplicate id", [](auto* f) { f->vocab["th"] = 7; }, kInvalid,
       "vocab.json: id 7 belongs to both"},
      {"negative id", [](auto* f) { f->vocab["th"] = -1; }, kInvalid, "token 'th': id -1"},
      {"large id", [](auto* f) { f->vocab["th"] = (1 << 20) + 1; }, kInvalid, "id 1048577"},
      {"huge id", [](auto* f) { f->vocab["th"] = UINT64_MAX; }, kInvalid,
       "id 18446744073709551615"},
      {"fractional id", [](auto* f) { f->vocab["th"] = 1.5; }, kInvalid, "id 1.5"},
      {"id as text", [](auto* f) { f->vocab["th"] = "7"; }, kInvalid, "id \"7\""},
      {"no object", [](auto* f) { f->vocab = json::array(); }, kInvalid,
       "vocabulary must be an object"},
      {"missing byte", [](auto* f) { f->vocab.erase("a"); }, kInvalid,
       "no token stands for byte 0x61"},
      {"missing merge", [](auto* f) { f->merges.push_back("x y"); }, kInvalid,
       "merges.txt: line 4: 'xy'"},
      {"one token", [](auto* f) { f->merges.push_back("xy"); }, kInvalid,
       "line 4: 'xy' is not two"},
      {"three tokens", [](auto* f) { f->merges.push_back("a b c"); }, kInvalid, "line 4: 'a b c'"},
      {"no class", [](auto* f) { f->config.erase("tokenizer_class"); }, kUnimplemented,
       "tokenizer_config.json: is not there or has no tokenizer_class"},
      {"other class", [](auto* f) { f->config["tokenizer_class"] = "T5Tokenizer"; }, kUnimplemented,
       "'T5Tokenizer'"},
      {"class is no text", [](auto* f) { f->config["tokenizer_class"] = 5; }, kInvalid,
       "tokenizer_class must"},
      {"key is no id", [](auto* f) { f->config["added_tokens_decoder"]["x7"] = json::object(); },
       kInvalid, "added_tokens_decoder[\"x7\"]"},
      {"taken id",
       [](auto* f) {
         f->config["added_tokens_decoder"]["7"] = {{"content", "!!"}};
       },
       kInvalid, "id 7 belongs to both"},
      {"empty token",
       [](auto* f) {
         f->config["added_tokens_decoder"]["400"] = {{"content", ""}};
       },
       kInvalid, "content is empty"},
      {"lstrip",
       [](auto* f) {
         f->config["added_tokens_decoder"]["400"] = {{"content", "x"}, {"lstrip", true}};
       },
       kUnimplemented, "lstrip"},
      {"role is a number", [](auto* f) { f->config["eos_token"] = 3; }, kInvalid, "eos_token"},
  };
  for (const BadSlowFile& test : cases) {
    TokenizerFiles files = SmallFiles("GPT2Tokenizer");
    test.spoil(&files);
    const absl::Status status = LoadSlow(files).status();
    EXPECT_EQ(status.code(), test.code) << test.name << ": " << status;
    EXPECT_NE(StatusMessage(status).find(test.message), std::string_view::npos)
        << test.name << ": " << status;
  }
}

TEST(TokenizerTest, WhatTokenizerJsonAsksForIsDoneOrRefused) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  const json prefix = {{"type", "ByteLevel"}, {"add_prefix_space", true}};
  const struct {
    std::string pointer;
    json value;
    absl::StatusCode code;
    std::string message;
  } cases[] = {
      {"/model/type", "Unigram", kUnimplemented, "model Unigram"},
      {"/model/type", "WordPiece", kUnimplemented, "model WordPiece"},
      {"/model/end_of_word_suffix", "</w>", kUnimplemented, "end_of_word_suffix"},
      {"/model/merges", "t h", kInvalid, "model.merges must be an array"},
      {"/model/merges/1", 5, kInvalid, "model.merges[1]"},
      {"/model/merges/1", {"t", "x"}, kInvalid, "model.merges[1]: 'tx'"},
      {"/model/vocab/th", -3, kInvalid, "model.vocab: token 'th'"},
      {"/normalizer", {{"type", "NFKC"}}, kUnimplemented, "NFKC"},
      {"/normalizer", {{"type", "Prepend"}}, kUnimplemented, "Prepend"},
      {"/pre_tokenizer", {{"type", "Metaspace"}}, kUnimplemented, "replacement null"},
      {"/pre_tokenizer", nullptr, kUnimplemented, "ByteLevel as only one"},
      {"/pre_tokenizer", prefix, kUnimplemented, "add_prefix_space"},
      {"/pre_tokenizer/pretokenizers/0/behavior", "Removed", kUnimplemented, "Isolated"},
      {"/pre_tokenizer/pretokenizers/0/pattern/Regex", "(", kInvalid, "does not compile"},
      {"/decoder", {{"type", "WordPiece"}}, kUnimplemented, "WordPiece"},
      {"/decoder", nullptr, kUnimplemented, "no decoder"},
      {"/post_processor", {{"type", "BertProcessing"}}, kUnimplemented, "BertProcessing"},
      {"/added_tokens", {{"a", 1}}, kInvalid, "added_tokens must be an array"},
      {"/added_tokens/0/id", -1, kInvalid, "added_tokens[0]: id -1"},
  };
  for (const auto& test : cases) {
    json file = SmallFiles("GPT2Tokenizer").Fast();
    ASSERT_TRUE(LoadFast(file).ok());
    file[json::json_pointer(test.pointer)] = test.value;
    const absl::Status status = LoadFast(file).status();
    EXPECT_EQ(status.code(), test.code) << test.pointer << ": " << status;
    EXPECT_NE(StatusMessage(status).find(test.message), std::string_view::npos)
        << test.pointer << ": " << status;
  }
}

TEST(TokenizerTest, DirectoriesWithoutATokenizerAreNamed) {
  const testing::TemporaryDirectory directory;
  EXPECT_EQ(Tokenizer::Load(directory.path()).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Tokenizer::Load(directory.path() / "missing").status().code(),
            absl::StatusCode::kNotFound);
  testing::WriteFile(directory.path() / "tokenizer.json", "{\"model\": ");
  const absl::Status cut = Tokenizer::Load(directory.path()).status();
  EXPECT_EQ(cut.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(StatusMessage(cut).find("tokenizer.json: not valid JSON at byte"),
            std::string_view::npos)
      << cut;
}

}  // namespace
}  // namespace tessera
