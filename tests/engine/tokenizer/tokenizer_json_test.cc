// tokenizer.json files of the SentencePiece kind; the byte-level ones are in tokenizer_test.cc.
#include "engine/tokenizer/tokenizer_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/base/status.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

json ByteDecoder() {
  return json::parse(R"({"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
      {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})");
}

// Ids: 0 "<unk>", 1 "<s>", 2 "▁", 3 "a", 4 "b", 5 "▁a", 6 "ab", 7 and 8 the bytes of "é", 9 "<x>".
json PairFile() {
  return {
      {"added_tokens",
       {{{"id", 1}, {"content", "<s>"}, {"special", true}, {"normalized", false}},
        {{"id", 9}, {"content", "<x>"}, {"special", false}, {"normalized", false}}}},
      {"normalizer", nullptr},
      {"pre_tokenizer",
       {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}, {"split", true}}},
      {"post_processor", nullptr},
      {"decoder", ByteDecoder()},
      {"model",
       {{"type", "BPE"},
        {"unk_token", "<unk>"},
        {"fuse_unk", true},
        {"byte_fallback", true},
        {"vocab",
         {{"<unk>", 0},
          {"<s>", 1},
          {"▁", 2},
          {"a", 3},
          {"b", 4},
          {"▁a", 5},
          {"ab", 6},
          {"<0xC3>", 7},
          {"<0xA9>", 8}}},
        {"merges", json::parse(R"([["a", "b"], ["▁", "a"]])")}}}};
}

json UnigramFile() {
  json file = PairFile();
  file["added_tokens"].erase(1);
  file["model"] = json::parse(R"({"type": "Unigram", "unk_id": 0, "byte_fallback": false,
      "vocab": [["<unk>", 0], ["<s>", 0], ["▁", -3], ["a", -2], ["b", -2], ["▁a", -2.5], ["ab", -5]]})");
  return file;
}

// "<x>" is looked for in normalized text.
json NormalizedTokenFile() {
  json file = PairFile();
  file["added_tokens"][1]["normalized"] = true;
  return file;
}

json Replace(const std::string& from, const std::string& to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

json Stages(int count, const json& stage) {
  return {{"type", "Sequence"}, {"normalizers", std::vector<json>(count, stage)}};
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const json& file) {
  const testing::TemporaryDirectory directory;
  testing::WriteFile(directory.path() / "tokenizer.json", file.dump());
  return Tokenizer::Load(directory.path());
}

Ids Encode(const json& file, const std::string& text) {
  const auto tokenizer = Load(file);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? (*tokenizer)->Encode(text, SpecialTokens::kParse) : Ids();
}

TEST(TokenizerJsonTest, MetaspacePrependsBySchemeAndSplits) {
  const struct {
    const char* scheme;
    Ids plain, space, after_token;  // of "aa", " a", "<x>a"
  } cases[] = {{"first", {5, 3}, {5}, {9, 3}},
               {"always", {5, 3}, {5}, {9, 5}},
               {"never", {3, 3}, {5}, {9, 3}}};
  for (const auto& test : cases) {
    json file = PairFile();
    file["pre_tokenizer"]["prepend_scheme"] = test.scheme;
    EXPECT_EQ(Encode(file, "aa"), test.plain) << test.scheme;
    EXPECT_EQ(Encode(file, " a"), test.space) << test.scheme;
    EXPECT_EQ(Encode(file, "<x>a"), test.after_token) << test.scheme;
  }
  json file = PairFile();
  file["model"]["merges"].push_back({"a", "▁"});
  file["model"]["vocab"]["a▁"] = 10;
  EXPECT_EQ(Encode(file, "ba a"), (Ids{2, 4, 3, 5}));
  file["pre_tokenizer"]["split"] = false;
  file["model"]["merges"] = {"a ▁"};
  EXPECT_EQ(Encode(file, "ba a"), (Ids{2, 4, 10, 3}));
}

TEST(TokenizerJsonTest, NormalizersComeBeforeTheModel) {
  json file = PairFile();
  file["pre_tokenizer"] = nullptr;
  file["normalizer"] = json::parse(R"({"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, {"type": "NFC"}]})");
  EXPECT_EQ(Encode(file, "a<x>a"), (Ids{5, 9, 5}));
  EXPECT_EQ(Encode(file, " a"), (Ids{2, 5}));
  EXPECT_EQ(Encode(file, "e\u0301"), (Ids{2, 7, 8}));
  file["added_tokens"][1]["normalized"] = true;  // then its content is normalized too: "▁<x>"
  EXPECT_EQ(Encode(file, "<x>a"), (Ids{9, 3}));
  EXPECT_EQ(Encode(file, "a <x>"), (Ids{5, 9}));
}

TEST(TokenizerJsonTest, WhatIsInNoTokenBecomesBytesOrUnknown) {
  json file = PairFile();
  EXPECT_EQ(Encode(file, "aé"), (Ids{5, 7, 8}));
  EXPECT_EQ(Encode(file, "aüüa"), (Ids{5, 0, 3}));
  file["model"]["fuse_unk"] = false;
  EXPECT_EQ(Encode(file, "aüüa"), (Ids{5, 0, 0, 3}));
  file["model"]["unk_token"] = nullptr;
  EXPECT_EQ(Encode(file, "aüüa"), (Ids{5, 3}));
  file["model"]["ignore_merges"] = true;
  file["model"]["merges"] = json::array();
  EXPECT_EQ(Encode(file, "a"), (Ids{5}));
}

TEST(TokenizerJsonTest, UnigramTakesTheBestWay) {
  EXPECT_EQ(Encode(UnigramFile(), "ab"), (Ids{5, 4}));
  EXPECT_EQ(Encode(UnigramFile(), "<s>ab"), (Ids{1, 3, 4}));
  EXPECT_EQ(Encode(UnigramFile(), "üü"), (Ids{2, 0}));
}

TEST(TokenizerJsonTest, DecodersJoinTokens) {
  const auto bytes = Load(PairFile());
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ((*bytes)->Decode(Ids{1, 5, 7, 8, 5}, true), "aé a");
  EXPECT_EQ((*bytes)->Decode(Ids{2, 2, 7, 8, 7}, true), " \uFFFD\uFFFD\uFFFD");
  json file = PairFile();
  file["decoder"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}};
  const auto metaspace = Load(file);
  ASSERT_TRUE(metaspace.ok()) << metaspace.status();
  EXPECT_EQ((*metaspace)->Decode(Ids{5, 5, 7}, true), "a a<0xC3>");
}

TEST(TokenizerJsonTest, TemplatesPutBosAndEosAround) {
  json file = PairFile();
  file["post_processor"] = json::parse(R"({"type": "TemplateProcessing", "single": [
      {"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<x>"}}]})");
  const testing::TemporaryDirectory directory;
  testing::WriteFile(directory.path() / "tokenizer.json", file.dump());
  const auto config = directory.path() / "tokenizer_config.json";
  testing::WriteFile(config, R"({"bos_token": "<s>", "eos_token": "<x>"})");
  auto loaded = Tokenizer::Load(directory.path());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE((*loaded)->adds_bos() && (*loaded)->adds_eos());
  testing::WriteFile(config, R"({"eos_token": "<x>", "tokenizer_class": "LlamaTokenizer"})");
  loaded = Tokenizer::Load(directory.path());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE((*loaded)->adds_bos());
  EXPECT_FALSE((*loaded)->adds_eos());
}

TEST(TokenizerJsonTest, WhatAFileAsksForIsDoneOrRefused) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  const struct {
    json file;
    std::string pointer;
    json value;
    absl::StatusCode code;
    std::string message;
  } cases[] = {
      {PairFile(), "/model/dropout", 0.1, kUnimplemented, "dropout"},
      {PairFile(), "/model/unk_token", "<none>", kInvalid, "model.unk_token: '<none>'"},
      {PairFile(), "/model/merges/1", {"▁", "z"}, kInvalid, "model.merges[1]: 'z'"},
      {PairFile(), "/model/merges/1", {"", "a"}, kInvalid, "model.merges[1]"},
      {PairFile(), "/model/vocab/", 77, kInvalid, "empty token"},
      {PairFile(), "/model/vocab/a", 4, kInvalid, "id 4 belongs to both"},
      {PairFile(), "/pre_tokenizer/prepend_scheme", "last", kUnimplemented, "\"last\""},
      {PairFile(), "/pre_tokenizer/replacement", "_", kUnimplemented, "replacement \"_\""},
      {PairFile(), "/normalizer", Replace("a", std::string(65, 'b')), kUnimplemented, "64 times"},
      {PairFile(), "/normalizer", Stages(17, Replace("a", "b")), kUnimplemented, "17 stages"},
      {NormalizedTokenFile(), "/normalizer", Replace("<x>", ""), kInvalid, "nothing of"},
      {PairFile(), "/decoder/decoders/3/stop", 1, kUnimplemented, "Strip"},
      {PairFile(), "/decoder/decoders/2/type", "CTC", kUnimplemented, "CTC"},
      {UnigramFile(), "/model/vocab", json::object(), kInvalid, "model.vocab must be an array"},
      {UnigramFile(), "/model/vocab/3", {"▁", -1}, kInvalid, "'▁' twice"},
      {UnigramFile(), "/model/vocab/3", {"a", "b"}, kInvalid, "model.vocab[3]"},
      {UnigramFile(), "/model/vocab/3", {"a", nullptr}, kInvalid, "model.vocab[3]"},
      {UnigramFile(), "/model/unk_id", 7, kInvalid, "model.unk_id: 7 of 7"},
  };
  for (const auto& test : cases) {
    json file = test.file;
    ASSERT_TRUE(Load(file).ok()) << Load(file).status();
    file[json::json_pointer(test.pointer)] = test.value;
    const absl::Status status = Load(file).status();
    EXPECT_EQ(status.code(), test.code) << test.pointer << ": " << status;
    EXPECT_NE(StatusMessage(status).find(test.message), std::string_view::npos)
        << test.pointer << ": " << status;
  }
}

}  // namespace
}  // namespace tessera
