#include "engine/tokenizer/sentencepiece_tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/prompt/prompt.h"
#include "engine/tokenizer/detokenizer.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/testing/data_path.h"
#include "tests/testing/sentencepiece_writer.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_cases.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;
using testing::BytePairFile;
using testing::SentencePieceWriter;
using Ids = std::vector<int32_t>;

// Ids: 3 to 258 the bytes, then these.
constexpr int32_t kSpace = 259, kA = 260, kB = 261, kSpaceA = 262, kTwoSpaces = 263;

std::string SmallFile() {
  SentencePieceWriter writer = BytePairFile();
  writer.Specials().Bytes();
  writer.Piece("▁", -9).Piece("a", -9).Piece("b", -9).Piece("▁a", -1).Piece("▁▁", -2);
  return writer.Finish();
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Load(
    json config, TokenizerClass tokenizer_class = TokenizerClass::kAny) {
  const testing::TemporaryDirectory directory;
  testing::WriteFile(directory.path() / "tokenizer.model", SmallFile());
  config.emplace("tokenizer_class", "LlamaTokenizer");
  testing::WriteFile(directory.path() / "tokenizer_config.json", config.dump());
  return Tokenizer::Load(directory.path(), tokenizer_class);
}

void ExpectGolden(const char* folder, int least) {
  const auto result = testing::RunTokenizerCases(testing::DataPath(folder));
  EXPECT_GT(result.passed, least);
  for (const std::string& failure : result.failures) ADD_FAILURE() << failure;
}

TEST(SentencePieceTokenizerTest, UnigramsGiveWhatSentencePieceGives) {
  ExpectGolden("golden/tokenizers/unigram", 1400);
}

TEST(SentencePieceTokenizerTest, PairsGiveWhatLlamaTokenizerGives) {
  ExpectGolden("golden/tokenizers/llama_bpe", 900);
}

TEST(SentencePieceTokenizerTest, ThreeClassesReadOneFile) {
  const auto legacy = Load({{"legacy", true}});
  const auto not_legacy = Load({{"legacy", false}});
  const auto fast = Load({{"legacy", false}}, TokenizerClass::kFast);
  ASSERT_TRUE(legacy.ok() && not_legacy.ok() && fast.ok()) << fast.status();
  const struct {
    std::string text;
    Ids legacy, not_legacy, fast;
  } cases[] = {
      {"a", {kSpaceA}, {kSpaceA}, {kSpaceA}},
      {"", {}, {}, {}},
      {" a", {kSpace, kSpaceA}, {kSpace, kSpaceA}, {kSpace, kSpaceA}},
      {"a</s>a", {kSpaceA, 2, kSpaceA}, {kSpaceA, 2, kA}, {kSpaceA, 2, kSpaceA}},
      {"</s>a", {2, kSpaceA}, {2, kA}, {2, kSpaceA}},
      {"</s> a", {2, kSpace, kSpaceA}, {2, kSpaceA}, {2, kSpace, kSpaceA}},
      {"a▁a", {kSpaceA, kSpaceA}, {kSpaceA, kSpaceA}, {kSpaceA, kSpaceA}},
  };
  for (const auto& test : cases) {
    EXPECT_EQ((*legacy)->Encode(test.text, SpecialTokens::kParse), test.legacy) << test.text;
    EXPECT_EQ((*not_legacy)->Encode(test.text, SpecialTokens::kParse), test.not_legacy)
        << test.text;
    EXPECT_EQ((*fast)->Encode(test.text, SpecialTokens::kParse), test.fast) << test.text;
  }
  const Ids broken = {kSpaceA, 3 + 0xE6, 3 + 'x', kSpaceA};
  for (const auto* tokenizer : {&legacy, &not_legacy, &fast}) {
    EXPECT_EQ((**tokenizer)->Decode(broken, true), "a\uFFFDx a");
  }
  const Ids spaces = {kTwoSpaces, kSpaceA};
  EXPECT_EQ((*legacy)->Decode(spaces, true), " a");
  EXPECT_EQ((*not_legacy)->Decode(spaces, true), "  a");
  EXPECT_EQ((*fast)->Decode(spaces, true), "  a");
}

TEST(SentencePieceTokenizerTest, ClassAndOptionsDecideWhatIsAroundAText) {
  const auto plain = Load(json::object());
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_TRUE((*plain)->adds_bos());
  EXPECT_EQ((*plain)->bos(), 1);
  EXPECT_EQ((*plain)->eos(), 2);
  EXPECT_EQ((*plain)->unk(), 0);
  EXPECT_EQ((*plain)->pad(), std::nullopt);
  const auto both = Load({{"add_bos_token", false}, {"add_eos_token", true}});
  ASSERT_TRUE(both.ok()) << both.status();
  const auto prompt = SplitRawPrompt("a<image>b", SpecialTokens::kParse);
  ASSERT_TRUE(prompt.ok());
  EXPECT_EQ(EncodePrompt(**plain, *prompt), (Ids{1, kSpaceA, kImagePlaceholder, kSpace, kB}));
  EXPECT_EQ(EncodePrompt(**both, *prompt), (Ids{kSpaceA, 2, kImagePlaceholder, kSpace, kB, 2}));
  const auto bare = Load({{"tokenizer_class", nullptr}});
  ASSERT_TRUE(bare.ok()) << bare.status();
  EXPECT_FALSE((*bare)->adds_bos());
  EXPECT_EQ((*bare)->Decode(Ids{0, kA}, true), " \u2047 a");
}

TEST(SentencePieceTokenizerTest, AddedTokensAreFoundAsTheirWriterIsTrusted) {
  const auto loaded = Load({{"added_tokens_decoder",
                             {{"264", {{"content", "<x>"}, {"special", true}}},
                              {"265", {{"content", "bb"}, {"special", false}}}}}});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->vocabulary(), 266);
  EXPECT_EQ((*loaded)->Encode("<x>bb", SpecialTokens::kParse), (Ids{264, 265}));
  EXPECT_EQ((*loaded)->Encode("abb", SpecialTokens::kText), (Ids{kSpaceA, 265}));
  EXPECT_EQ((*loaded)->Encode("</s>", SpecialTokens::kText).size(), 5u);
  EXPECT_EQ((*loaded)->Decode(Ids{2, kSpaceA, 264, kSpaceA}, true), "a<x>a");
}

TEST(SentencePieceTokenizerTest, TextThatComesPieceByPieceIsTheSame) {
  std::mt19937 random(29);
  for (const auto which : {TokenizerClass::kSlow, TokenizerClass::kFast}) {
    const auto loaded = Load({{"legacy", random() % 2 == 0}}, which);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    for (int round = 0; round < 2000; ++round) {
      Ids ids;
      for (size_t i = random() % 12; i > 0; --i) {
        ids.push_back(
            static_cast<int32_t>(random() % 3 == 0 ? random() % 264 : 256 + random() % 8));
      }
      Detokenizer detokenizer(**loaded, /*skip_special=*/true);
      std::string text;
      for (const int32_t id : ids) {
        const std::string more = detokenizer.Push(id);
        ASSERT_TRUE(ValidateUtf8(more).ok());
        text += more;
      }
      ASSERT_EQ(text + detokenizer.Finish(), (*loaded)->Decode(ids, true));
    }
  }
}

TEST(SentencePieceTokenizerTest, ErrorsNameFileAndPlace) {
  const testing::TemporaryDirectory directory;
  testing::WriteFile(directory.path() / "tokenizer.model", SmallFile().substr(0, 500));
  const absl::Status cut = Tokenizer::Load(directory.path()).status();
  EXPECT_EQ(cut.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(StatusMessage(cut).find("tokenizer.model: byte "), std::string_view::npos) << cut;
  const absl::Status other = Load({{"tokenizer_class", "T5Tokenizer"}}).status();
  EXPECT_EQ(other.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(StatusMessage(other).find("'T5Tokenizer'"), std::string_view::npos) << other;
  const absl::Status taken =
      Load({{"added_tokens_decoder", {{"260", {{"content", "zz"}}}}}}).status();
  EXPECT_NE(StatusMessage(taken).find("id 260 belongs to both 'a'"), std::string_view::npos)
      << taken;
}

}  // namespace
}  // namespace tessera
