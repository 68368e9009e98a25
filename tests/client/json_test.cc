// The command's JSON.
#include "client/json.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(AnswerJson, HasEveryField) {
  v1::GenerateResponse answer;
  answer.set_text("hi");
  answer.add_token_ids(5);
  answer.set_finish_reason(v1::FINISH_REASON_LENGTH);
  v1::TokenLogprobs* logprobs = answer.add_logprobs();
  logprobs->mutable_chosen()->set_token("\xc3");
  logprobs->mutable_chosen()->set_logprob(-0.5);
  logprobs->add_top()->set_id(5);
  const Json json = Json::parse(Print(AnswerJson(answer)));
  EXPECT_EQ(json["finish_reason"], "length");
  EXPECT_EQ(json["token_ids"], Json({5}));
  EXPECT_EQ(json["prompt_token_ids"], Json::array());
  EXPECT_EQ(json["logprobs"][0]["chosen"]["bytes"], Json({0xc3}));
  EXPECT_EQ(json["logprobs"][0]["chosen"]["token"], "\xef\xbf\xbd");
  EXPECT_EQ(json["logprobs"][0]["top"][0]["id"], 5);
  const auto* usage = v1::Usage::descriptor();
  EXPECT_EQ(json["usage"].size(), static_cast<size_t>(usage->field_count()));
  for (int i = 0; i < usage->field_count(); ++i)
    EXPECT_TRUE(json["usage"].contains(usage->field(i)->name()));
}

TEST(ModelJson, HasEveryField) {
  const Json json = ModelJson({});
  const auto* model = v1::Model::descriptor();
  EXPECT_EQ(json.size(), static_cast<size_t>(model->field_count()));
  for (int i = 0; i < model->field_count(); ++i)
    EXPECT_TRUE(json.contains(model->field(i)->name()));
}

TEST(ModelJson, TellsTheDefaultsAsTheyWereWritten) {
  v1::Model model;
  model.mutable_default_sampling()->set_temperature(0.7f);
  model.mutable_default_sampling()->set_top_k(20);
  model.mutable_default_sampling()->set_repetition_penalty(1);
  EXPECT_EQ(ModelJson(model)["default_sampling"].dump(),
            R"({"temperature":0.7,"top_k":20,"top_p":0,"min_p":0,"repetition_penalty":1})");
}

TEST(Print, KeepsNumbersOnOneLine) {
  EXPECT_EQ(Print(Json({{"a", {1, 2}}, {"b", Json::array()}, {"c", {{"d", "\n"}}}})),
            "{\n  \"a\": [1,2],\n  \"b\": [],\n  \"c\": {\n    \"d\": \"\\n\"\n  }\n}\n");
}

// U+009B alone begins a terminal's command.
TEST(Print, EscapesControlsThatJsonLetsStand) {
  const std::string text = "a\x7f\xc2\x9b\xc3\xa9";
  EXPECT_EQ(Print(Json({{text, text}})),
            "{\n  \"a\\u007f\\u009b\xc3\xa9\": \"a\\u007f\\u009b\xc3\xa9\"\n}\n");
  EXPECT_EQ(Json::parse(Print(Json(text))), text);
}

}  // namespace
}  // namespace tessera
