#include "engine/tokenizer/sentencepiece_model.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "engine/base/status.h"
#include "tests/testing/sentencepiece_writer.h"

namespace tessera {
namespace {

using testing::BytePairFile;
using testing::SentencePieceWriter;
using testing::WireWriter;

TEST(SentencePieceModelTest, ReadsWhatTheFileSays) {
  SentencePieceWriter writer = BytePairFile();
  writer.Specials().Piece("ab", -1.5f).Piece("c", -2, 4);
  writer.trainer.Varint(24, 1).Bytes(44, "?").Bytes(48, "<p>").Varint(999, 7);
  writer.normalizer.Bytes(2, "xyz");
  const auto model = ParseSentencePieceModel(writer.Finish());
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->pieces.size(), 5u);
  EXPECT_EQ(model->pieces[3].text, "ab");
  EXPECT_EQ(model->pieces[3].score, -1.5f);
  EXPECT_EQ(model->pieces[4].type, SentencePieceModel::PieceType::kUserDefined);
  EXPECT_EQ(model->unknown, 0);
  EXPECT_EQ(model->algorithm, SentencePieceModel::Algorithm::kBytePair);
  EXPECT_TRUE(model->space_is_suffix);
  EXPECT_TRUE(model->add_dummy_prefix);
  EXPECT_FALSE(model->remove_extra_whitespaces);
  EXPECT_EQ(model->unknown_surface, "?");
  EXPECT_EQ(model->pad, "<p>");
  EXPECT_EQ(model->charsmap, "xyz");
}

TEST(SentencePieceModelTest, DefaultsAreThoseOfTheFormat) {
  const auto model = ParseSentencePieceModel(SentencePieceWriter().Specials().Finish());
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->algorithm, SentencePieceModel::Algorithm::kUnigram);
  EXPECT_TRUE(model->add_dummy_prefix && model->remove_extra_whitespaces);
  EXPECT_FALSE(model->byte_fallback || model->space_is_suffix);
  EXPECT_EQ(model->unknown_surface, " \u2047 ");
}

TEST(SentencePieceModelTest, BrokenFilesAreNamedByPlace) {
  const auto with = [](std::string_view text, float score, int type) {
    return SentencePieceWriter().Specials().Piece(text, score, type).Finish();
  };
  const auto spec = [](uint32_t field, const WireWriter& message) {
    return WireWriter(SentencePieceWriter().Specials().file).Bytes(field, message.bytes()).bytes();
  };
  const std::string good = SentencePieceWriter().Specials().Finish();
  const struct {
    std::string file;
    std::string message;
  } cases[] = {
      {"", "no piece is the unknown one"},
      {with("", 0, 1), "pieces[3]: empty"},
      {with("a\xFF", 0, 1), "pieces[3]: text is not valid UTF-8 at byte 1"},
      {with(std::string(1025, 'a'), 0, 1), "pieces[3]: 1025 bytes"},
      {with("a", std::numeric_limits<float>::quiet_NaN(), 1), "pieces[3]: 'a': score nan"},
      {with("a", -std::numeric_limits<float>::infinity(), 1), "pieces[3]: 'a': score -inf"},
      {with("a", 0, 7), "pieces[3]: 'a': type 7"},
      {with("<s>", 0, 3), "pieces[3]: '<s>' is there already"},
      {with("?", 0, 2), "pieces[0] and pieces[3] are both the unknown piece"},
      {with("<0x0g>", 0, 6), "pieces[3]: '<0x0g>' is a byte piece"},
      {with("<0x0A>", 0, 6), "byte_fallback is false, but there are 1 byte pieces"},
      {spec(2, WireWriter().Varint(35, 1)), "byte_fallback is true, but there are 0"},
      {spec(2, WireWriter().Varint(3, 4)), "trainer_spec: model_type 4"},
      {spec(2, WireWriter().Bytes(3, "x")), "trainer_spec: model_type (field 3) has wire type 2"},
      {spec(3, WireWriter().Varint(5, 0)), "normalizer_spec: escape_whitespaces"},
      {spec(5, WireWriter().Bytes(2, "x")), "denormalizer_spec"},
      {good.substr(0, 10), "byte 2: a field of 14 bytes, but 8 are left"},
      {good + "\x0A\xFF\xFF\xFF\xFF\x0F", "bytes, but 0 are left"},
      {good + std::string(11, '\xFF'), "a number of over 64 bits"},
      {good + '\x0B', "wire type 3"},
      {good + '\x00' + '\x00', "0 is no field number"},
  };
  for (const auto& test : cases) {
    const absl::Status status = ParseSentencePieceModel(test.file).status();
    EXPECT_FALSE(status.ok()) << test.message;
    EXPECT_NE(StatusMessage(status).find(test.message), std::string_view::npos)
        << test.message << " / " << status;
  }
}

TEST(SentencePieceModelTest, NoFileMakesItFail) {
  SentencePieceWriter writer = BytePairFile();
  writer.Specials().Piece("ab", -1).Piece("a", -2);
  const std::string good = writer.Finish();
  for (size_t length = 0; length < good.size(); ++length) {
    (void)ParseSentencePieceModel(std::string_view(good).substr(0, length));
  }
  std::mt19937 random(3);
  for (int round = 0; round < 5000; ++round) {
    std::string file = good;
    for (int i = 0; i < 3; ++i) file[random() % file.size()] = static_cast<char>(random());
    (void)ParseSentencePieceModel(file);
  }
}

}  // namespace
}  // namespace tessera
