#include "engine/base/json_file.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;

class JsonFileTest : public ::testing::Test {
 protected:
  absl::StatusOr<json> Read(const std::string& text) const {
    testing::WriteFile(path_, text);
    return ReadJsonFile(path_);
  }

  testing::TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_.path() / "config.json";
};

TEST_F(JsonFileTest, ReadsAnyValue) {
  EXPECT_EQ(Read(R"({"a": [1, "\u00e9"]})").value(), json({{"a", {1, "é"}}}));
  EXPECT_EQ(Read("7").value(), 7);
}

TEST_F(JsonFileTest, RefusesWhatIsNoJsonByTheFilesName) {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("{} x"), std::string("{'a': 1}"),
        std::string("{\"a\": NaN}"), std::string("\"\xFF\""), std::string(4, '\0'),
        std::string("{\"a\": 1"), std::string("\"\\")}) {
    const auto read = Read(text);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_NE(StatusMessage(read.status()).find(path_.string()), std::string_view::npos);
  }
}

TEST_F(JsonFileTest, BoundsTheDepth) {
  const auto nested = [](int levels, const std::string& open, const std::string& close) {
    std::string text;
    for (int i = 0; i < levels; ++i) text += open;
    text += "1";
    for (int i = 0; i < levels; ++i) text += close;
    return text;
  };
  EXPECT_TRUE(Read(nested(64, "[", "]")).ok());
  EXPECT_FALSE(Read(nested(65, "[", "]")).ok());
  EXPECT_TRUE(Read(nested(64, R"({"a":)", "}")).ok());
  EXPECT_FALSE(Read(nested(65, R"({"a":)", "}")).ok());
  EXPECT_FALSE(Read(nested(1'000'000, "[", "]")).ok());
  EXPECT_FALSE(Read(std::string(1'000'000, '[')).ok());
  // Brackets in strings are no nesting, quotes in strings end none.
  EXPECT_TRUE(Read("[\"" + std::string(1000, '[') + "\"]").ok());
  EXPECT_TRUE(Read("[\"\\\"" + std::string(1000, '[') + "\"]").ok());
  EXPECT_FALSE(Read("[\"\\\\\"," + nested(64, "[", "]") + "]").ok());
  EXPECT_TRUE(Read("[" + nested(40, "[", "]") + "," + nested(40, "[", "]") + "]").ok());
}

TEST_F(JsonFileTest, WhatIsNoFileIsNamed) {
  const auto missing = ReadJsonFile(path_);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(StatusMessage(missing.status()).find(path_.string()), std::string_view::npos);
  EXPECT_EQ(ReadJsonFile(directory_.path()).status().code(), absl::StatusCode::kInvalidArgument);
}

// ----------------------------------------------------------------------------------------------------------------
// fields

TEST(JsonFieldsTest, GivesValuesAndDefaults) {
  const json object =
      json::parse(R"({"int": -3, "number": 1.5, "whole": 2, "yes": true, "text": "t",
      "ints": [1, 2], "none": null, "object": {"x": 4}})");
  JsonFields fields(object, "config.json");
  EXPECT_EQ(fields.Int("int", -3, 3), -3);
  EXPECT_EQ(fields.IntOr("absent", 9, 0, 3), 9);
  EXPECT_EQ(fields.IntOr("none", 9, 0, 3), 9) << "null is absent";
  EXPECT_EQ(fields.NumberOr("number", 0, 0, 2), 1.5);
  EXPECT_EQ(fields.NumberOr("whole", 0, 0, 2), 2);
  EXPECT_EQ(fields.NumberOr("absent", 7, 0, 2), 7);
  EXPECT_TRUE(fields.BoolOr("yes", false));
  EXPECT_TRUE(fields.BoolOr("absent", true));
  EXPECT_EQ(fields.String("text"), "t");
  EXPECT_EQ(fields.StringOr("absent", "d"), "d");
  EXPECT_EQ(fields.Ints("ints", 1, 2), (std::vector<int64_t>{1, 2}));
  EXPECT_TRUE(fields.Has("object"));
  EXPECT_FALSE(fields.Has("none"));
  JsonFields nested = fields.Object("object");
  EXPECT_EQ(nested.Int("x", 0, 9), 4);
  EXPECT_TRUE(nested.status().ok());
  EXPECT_TRUE(fields.status().ok()) << fields.status();
}

TEST(JsonFieldsTest, EveryWrongFieldIsNamedWithItsValue) {
  const json object = json::parse(R"({"text": "t", "number": 1.5, "big": 18446744073709551615,
      "small": -9223372036854775808, "list": [1, 2.5], "huge_list": [18446744073709551615], "five": 5})");
  const struct {
    const char* key;
    std::function<void(JsonFields&)> read;
    const char* value;
  } cases[] = {
      {"absent", [](auto& f) { f.Int("absent", 0, 1); }, "is missing"},
      {"absent", [](auto& f) { f.String("absent"); }, "is missing"},
      {"absent", [](auto& f) { f.Ints("absent", 0, 1); }, "is missing"},
      {"absent", [](auto& f) { f.Object("absent"); }, "is missing"},
      {"text", [](auto& f) { f.Int("text", 0, 1); }, "\"t\""},
      {"text", [](auto& f) { f.NumberOr("text", 0, 0, 1); }, "\"t\""},
      {"text", [](auto& f) { f.BoolOr("text", false); }, "\"t\""},
      {"text", [](auto& f) { f.Ints("text", 0, 1); }, "\"t\""},
      {"number", [](auto& f) { f.IntOr("number", 0, 0, 9); }, "1.5"},
      {"number", [](auto& f) { f.NumberOr("number", 0, 0, 1.25); }, "1.5"},
      {"number", [](auto& f) { f.NumberOr("number", 0, 2, 9); }, "1.5"},
      {"number", [](auto& f) { f.StringOr("number", ""); }, "1.5"},
      {"five", [](auto& f) { f.Int("five", 6, 9); }, "5"},
      {"five", [](auto& f) { f.Int("five", 0, 4); }, "from 0 to 4"},
      {"five", [](auto& f) { f.BoolOr("five", false); }, "5"},
      {"big", [](auto& f) { f.Int("big", -1, 9); }, "18446744073709551615"},
      {"big", [](auto& f) { f.Int("big", INT64_MIN, INT64_MAX); }, "18446744073709551615"},
      {"small", [](auto& f) { f.Int("small", 0, 9); }, "-9223372036854775808"},
      {"list", [](auto& f) { f.Ints("list", 0, 9); }, "2.5"},
      {"huge_list", [](auto& f) { f.Ints("huge_list", -1, 9); }, "18446744073709551615"},
      {"list", [](auto& f) { f.Refuse("list", "for a reason"); }, "for a reason"},
  };
  for (const auto& test : cases) {
    JsonFields fields(object, "the/config.json");
    test.read(fields);
    EXPECT_EQ(fields.status().code(), absl::StatusCode::kInvalidArgument) << test.key;
    const std::string_view message = StatusMessage(fields.status());
    EXPECT_EQ(message.rfind("the/config.json: \"" + std::string(test.key) + "\"", 0), 0u)
        << message;
    EXPECT_NE(message.find(test.value), std::string_view::npos) << message;
  }
}

TEST(JsonFieldsTest, TheFirstErrorStays) {
  const json object = {{"a", "x"}, {"b", 5}};
  JsonFields fields(object, "p");
  EXPECT_EQ(fields.IntOr("a", 3, 0, 9), 3) << "the default, though it is wrong";
  fields.Int("b", 0, 1);
  EXPECT_NE(StatusMessage(fields.status()).find("\"a\""), std::string_view::npos);
}

TEST(JsonFieldsTest, NestedErrorsNameTheirPlaceAndAreTakenOver) {
  const json object = {{"moe", {{"k", 9}}}, {"list", json::array()}};
  JsonFields fields(object, "config.json");
  JsonFields nested = fields.Object("moe");
  nested.Int("k", 0, 2);
  EXPECT_TRUE(fields.status().ok());
  fields.Merge(nested);
  EXPECT_EQ(StatusMessage(fields.status()).rfind("config.json: \"moe.k\" 9", 0), 0u)
      << fields.status();
  JsonFields other(object, "config.json");
  other.Merge(other.Object("list"));
  EXPECT_EQ(StatusMessage(other.status()), "config.json: \"list\" []: must be a JSON object");
}

TEST(JsonFieldsTest, TellsWhatNobodyAskedFor) {
  const json object = {
      {"a", 1}, {"b", nullptr}, {"c", {{"d", 2}, {"e", {{"f", 3}}}}}, {"g", {{"h", 4}}}};
  const JsonFields fields(object, "config.json");
  const auto paths = [](const JsonFields& of) {
    std::vector<std::string> names;
    for (const JsonFields::Field& field : of.Unread()) names.push_back(field.path);
    return names;
  };
  EXPECT_EQ(paths(fields), (std::vector<std::string>{"a", "b", "c", "g"}));
  JsonFields copy = fields;
  copy.IntOr("a", 0, 0, 9);
  EXPECT_FALSE(copy.Has("b"));
  JsonFields nested = copy.Object("c");
  EXPECT_EQ(paths(fields), (std::vector<std::string>{"c.d", "c.e", "g"})) << "whoever asked";
  nested.Object("e").IntOr("f", 0, 0, 9);
  EXPECT_TRUE(copy.Has("g")) << "as a whole";
  EXPECT_EQ(paths(fields), std::vector<std::string>{"c.d"});
  EXPECT_EQ(*fields.Unread()[0].value, 2);
}

TEST(JsonFieldsTest, DefaultsStandForKeysThatAreNotNamed) {
  const json object = {{"named", 1}, {"null", nullptr}};
  JsonFields fields(object, "config.json");
  fields.SetDefaults({{"named", 7}, {"null", 7}, {"missing", 7}});
  EXPECT_EQ(fields.Int("named", 0, 9), 1);
  EXPECT_EQ(fields.Int("missing", 0, 9), 7);
  EXPECT_EQ(fields.IntOr("null", 3, 0, 9), 3);
  EXPECT_TRUE(fields.Unread().empty()) << "defaults are no fields";
}

TEST(JsonFieldsTest, WhatIsNoObjectIsRefused) {
  for (const json& value : {json(7), json::array({1}), json(nullptr), json("x")}) {
    JsonFields fields(value, "config.json");
    EXPECT_EQ(fields.IntOr("a", 4, 0, 9), 4);
    EXPECT_EQ(StatusMessage(fields.status()), "config.json: no JSON object");
  }
}

TEST(JsonFieldsTest, LongValuesAreCutBetweenCharacters) {
  for (size_t offset = 0; offset < 4; ++offset) {
    std::string text(offset, 'x');
    for (int i = 0; i < 60; ++i) text += "港";
    const json object = {{"name", text}};
    JsonFields fields(object, "config.json");
    fields.Refuse("name", "why");
    const std::string_view message = StatusMessage(fields.status());
    EXPECT_LT(message.size(), 120u);
    EXPECT_GT(message.size(), 80u);
    EXPECT_TRUE(ValidateUtf8(message).ok()) << message;
  }
}

}  // namespace
}  // namespace tessera
