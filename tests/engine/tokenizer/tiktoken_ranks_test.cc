#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "engine/base/status.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using Ids = std::vector<int32_t>;

std::string Line(const std::string& bytes, int64_t rank) {
  return fmt::format("{} {}\n", absl::Base64Escape(bytes), rank);
}

// The bytes as 0 to 255, then `tokens`.
std::string Ranks(const std::vector<std::string>& tokens) {
  std::string lines;
  for (int byte = 0; byte < 256; ++byte)
    lines += Line(std::string(1, static_cast<char>(byte)), byte);
  for (size_t i = 0; i < tokens.size(); ++i)
    lines += Line(tokens[i], 256 + static_cast<int64_t>(i));
  return lines;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& ranks,
                                                const std::string& tokenizer_class) {
  const testing::TemporaryDirectory directory;
  testing::WriteFile(directory.path() / "small.tiktoken", ranks);
  testing::WriteFile(directory.path() / "tokenizer_config.json",
                     fmt::format(R"({{"tokenizer_class": "{}"}})", tokenizer_class));
  return Tokenizer::Load(directory.path());
}

TEST(TiktokenRanksTest, MergesInTheOrderOfRanks) {
  // "abc" is a token that merges do not reach from "abcd": "bc" comes first.
  const auto loaded = Load(Ranks({"bc", "ab", "abc", " a", "abcd", "zzz"}), "QWenTokenizer");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const auto encode = [&](std::string_view text) {
    return (*loaded)->Encode(text, SpecialTokens::kNone);
  };
  EXPECT_EQ(encode("ab"), (Ids{257}));
  EXPECT_EQ(encode("abcx"), (Ids{258, 'x'}));
  EXPECT_EQ(encode("abcdx"), (Ids{260, 'x'}));
  EXPECT_EQ(encode("zzz"), (Ids{261}));  // a whole word is its token, though no merge makes it
  EXPECT_EQ(encode("zzzz"), (Ids{'z', 'z', 'z', 'z'}));
  EXPECT_EQ(encode("e\u0301"), (Ids{0xC3, 0xA9}));
}

TEST(TiktokenRanksTest, ControlTokensFollowTheRanks) {
  const auto qwen = Load(Ranks({"ab"}), "QWenTokenizer");
  ASSERT_TRUE(qwen.ok()) << qwen.status();
  EXPECT_EQ((*qwen)->vocabulary(), 257 + 208);
  EXPECT_EQ((*qwen)->eos(), 257);
  EXPECT_EQ((*qwen)->FindToken("<|extra_204|>"), 257 + 207);
  EXPECT_EQ((*qwen)->Encode("<|im_end|>", SpecialTokens::kParse), (Ids{259}));
  EXPECT_EQ((*qwen)->Encode("<|im_end|>", SpecialTokens::kText).size(), 10u);

  const auto stable_lm = Load(Ranks({"ab"}), "Arcade100kTokenizer");
  ASSERT_TRUE(stable_lm.ok()) << stable_lm.status();
  EXPECT_EQ((*stable_lm)->vocabulary(), 257 + 33);
  EXPECT_EQ((*stable_lm)->eos(), 258);
  EXPECT_EQ((*stable_lm)->TokenBytes(257), "");
  EXPECT_EQ((*stable_lm)->FindToken("<|extra0|>"), 257 + 32);
}

TEST(TiktokenRanksTest, BrokenFilesAreNamed) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const struct {
    std::string ranks, tokenizer_class;
    absl::StatusCode code;
    std::string message;
  } cases[] = {
      {Ranks({}) + "YWI=\n", "QWenTokenizer", kInvalid, "small.tiktoken: line 257: 'YWI='"},
      {Ranks({}) + "YWI= x\n", "QWenTokenizer", kInvalid, "'YWI= x' is not"},
      {Ranks({}) + "Y*I= 256\n", "QWenTokenizer", kInvalid, "'Y*I= 256' is not"},
      {Ranks({}) + Line("ab", -1), "QWenTokenizer", kInvalid, "' is not base64"},
      {Ranks({std::string(1025, 'x')}), "QWenTokenizer", kInvalid, "1025 bytes are more"},
      {Ranks({}) + Line("ab", (1 << 20) + 1), "QWenTokenizer", kInvalid, "' is not base64"},
      {Ranks({}) + Line("ab", 7), "QWenTokenizer", kInvalid, "id 7 belongs to both"},
      {Ranks({}) + Line("a", 256), "QWenTokenizer", kInvalid, "stands in an earlier line"},
      {Line("a", 0), "QWenTokenizer", kInvalid, "no token stands for byte 0x00"},
      {Ranks({}), "OtherTokenizer", absl::StatusCode::kUnimplemented, "'OtherTokenizer'"},
  };
  for (const auto& test : cases) {
    const absl::Status status = Load(test.ranks, test.tokenizer_class).status();
    EXPECT_EQ(status.code(), test.code) << status;
    EXPECT_NE(StatusMessage(status).find(test.message), std::string_view::npos) << status;
  }
}

}  // namespace
}  // namespace tessera
