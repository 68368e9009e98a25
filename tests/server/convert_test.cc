#include "server/convert.h"

#include <fmt/format.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace tessera {
namespace {

ModelInfo TestModel() {
  ModelInfo model;
  model.name = "tiny";
  model.max_context = 100;
  model.vocabulary = 50;
  model.takes_images = true;
  model.max_images = 2;
  return model;
}

CallFacts Call(uint64_t seed = 0) {
  return {.request_id = "r", .seed = seed, .deadline = std::nullopt};
}

v1::GenerateRequest Parse(const std::string& text) {
  v1::GenerateRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  return request;
}

constexpr char kQuestion[] =
    R"(conversation { messages { role: ROLE_USER parts { text: "hi" } } } )";

struct Fault {
  std::string request;  // text format
  std::string field;
  std::string message;  // a part of it
  ErrorReason reason = ErrorReason::kInvalidParameter;
};

void ExpectFaults(const std::vector<Fault>& faults, const ModelInfo& model = TestModel()) {
  for (const Fault& fault : faults) {
    SCOPED_TRACE(fault.request);
    const auto request = ToRequest(Parse(fault.request), model, Call());
    ASSERT_FALSE(request.ok());
    EXPECT_EQ(request.status().code(), fault.reason == ErrorReason::kModelNotFound
                                           ? absl::StatusCode::kNotFound
                                           : absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(StatusReason(request.status()), ErrorReasonName(fault.reason));
    EXPECT_EQ(StatusField(request.status()), fault.field);
    EXPECT_NE(StatusMessage(request.status()).find(fault.message), std::string_view::npos)
        << request.status();
  }
}

TEST(ConvertTest, TakesAConversation) {
  const auto request = ToRequest(
      Parse(
          R"(model: "tiny" parse_special_tokens: true cache_salt: "tenant" image_mode: IMAGE_MODE_CROP
               max_image_tokens: 1
               conversation {
                 messages { role: ROLE_SYSTEM parts { text: "be brief" } }
                 messages { role: ROLE_USER parts { image { data: "png" mime_type: "image/png" } }
                                            parts { text: "what?" } }
                 messages { role: ROLE_ASSISTANT parts { text: "a cat" } }
                 messages { role: ROLE_USER parts { text: "sure?" } } })"),
      TestModel(), Call(9));
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->id, "r");
  EXPECT_EQ(request->sampling.seed, 9u);
  EXPECT_EQ(request->image_mode, ImageMode::kCrop);
  EXPECT_EQ(request->max_image_tokens, 1);
  EXPECT_TRUE(request->parse_special_tokens);
  EXPECT_EQ(request->cache_salt, "tenant");
  const auto& messages = std::get<std::vector<Message>>(request->input);
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[0].role, Role::kSystem);
  EXPECT_EQ(messages[2].role, Role::kAssistant);
  ASSERT_EQ(messages[1].parts.size(), 2u);
  EXPECT_EQ(std::get<EncodedImage>(messages[1].parts[0]).bytes, "png");
  EXPECT_EQ(std::get<EncodedImage>(messages[1].parts[0]).mime_type, "image/png");
  EXPECT_EQ(std::get<std::string>(messages[1].parts[1]), "what?");
}

TEST(ConvertTest, TakesRawAndTokenPrompts) {
  const auto raw = ToRequest(Parse(R"(raw_prompt { text: "<image> and <image>?" images { data: "a" }
                                      images { data: "b" } })"),
                             TestModel(), {});
  ASSERT_TRUE(raw.ok()) << raw.status();
  EXPECT_EQ(std::get<RawPrompt>(raw->input).images[1].bytes, "b");
  EXPECT_FALSE(raw->image_mode.has_value());
  EXPECT_FALSE(raw->max_image_tokens.has_value());
  const auto tokens = ToRequest(
      Parse(R"(token_prompt { ids: [0, -200, 49] images { data: "a" } })"), TestModel(), {});
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(std::get<TokenPrompt>(tokens->input).ids, (std::vector<int32_t>{0, -200, 49}));
}

TEST(ConvertTest, NamesTheFaultyField) {
  const std::string q = kQuestion;
  const auto user = [](const std::string& parts) {
    return "conversation { messages { role: ROLE_USER " + parts + " } }";
  };
  ExpectFaults({
      {"", "input", "one of"},
      {"conversation {}", "conversation.messages", "empty"},
      {"conversation { messages { parts { text: 'x' } } }", "conversation.messages[0].role",
       "not 0"},
      {user(""), "conversation.messages[0].parts", "empty"},
      {user("parts {}"), "conversation.messages[0].parts[0]", "text or image"},
      {"conversation { messages { role: ROLE_USER parts { text: 'x' } } "
       "messages { role: ROLE_SYSTEM parts { text: 'x' } } }",
       "conversation.messages[1].role", "only the first"},
      {"conversation { messages { role: ROLE_ASSISTANT parts { text: 'x' } } }",
       "conversation.messages[0].role", "ROLE_USER"},
      {"conversation { messages { role: ROLE_ASSISTANT parts { image { data: 'x' } } } }",
       "conversation.messages[0].parts[0].image", "user"},
      {user("parts { text: 'x' } parts { image { data: 'x' mime_type: 'image/gif' } }"),
       "conversation.messages[0].parts[1].image.mime_type", "image/gif"},
      {user("parts { image {} }"), "conversation.messages[0].parts[0].image.data", "empty",
       ErrorReason::kImageDecodeFailed},
      {user("parts { image { data: 'x' } } parts { image { data: 'x' } } "
            "parts { image { data: 'x' } }"),
       "conversation.messages", "3 images; at most 2", ErrorReason::kTooManyImages},
      {"raw_prompt { text: '<image>' }", "raw_prompt.text", "1 places"},
      {"raw_prompt { text: 'x' images { data: 'x' } }", "raw_prompt.text", "for 1 images"},
      {"token_prompt {}", "token_prompt.ids", "empty"},
      {"token_prompt { ids: [1, 50] }", "token_prompt.ids[1]", "not 50"},
      {"token_prompt { ids: [-1] }", "token_prompt.ids[0]", "not -1"},
      {"token_prompt { ids: [-200] }", "token_prompt.ids", "1 places"},
      {q + "image_mode: 9", "image_mode", "9"},
      {q + "max_image_tokens: 0", "max_image_tokens", "not 0"},
      {q + "max_image_tokens: -7", "max_image_tokens", "not -7"},
      {q + "model: 'gpt'", "model", "gpt", ErrorReason::kModelNotFound},
      {q + "cache_salt: '" + std::string(129, 's') + "'", "cache_salt", "129"},
      {q + "request_id: '" + std::string(129, 's') + "'", "request_id", "129"},
      {q + "request_id: 'a\\nb'", "request_id", "control"},
  });
}

TEST(ConvertTest, TakesTheNamesThatClientsGiveFormats) {
  for (const char* name : {"image/jpg", "IMAGE/JPEG", "image/jpeg; charset=binary"}) {
    const auto request = ToRequest(
        Parse(fmt::format("raw_prompt {{ text: '<image>' images {{ data: 'x' mime_type: '{}' }} }}",
                          name)),
        TestModel(), Call());
    ASSERT_TRUE(request.ok()) << request.status();
    EXPECT_EQ(std::get<RawPrompt>(request->input).images[0].mime_type, "image/jpeg");
  }
  const auto unsaid = ToRequest(Parse("raw_prompt { text: '<image>' images { data: 'x' mime_type: "
                                      "'application/octet-stream' } }"),
                                TestModel(), Call());
  ASSERT_TRUE(unsaid.ok()) << unsaid.status();
  EXPECT_EQ(std::get<RawPrompt>(unsaid->input).images[0].mime_type, "");
}

TEST(ConvertTest, EveryServedNameIsTheModels) {
  ModelInfo model = TestModel();
  model.other_names = {"org/tiny", "tiny-v2"};
  for (const char* name : {"", "tiny", "org/tiny", "tiny-v2"}) {
    EXPECT_TRUE(CheckModelName(name, model).ok()) << name;
  }
  EXPECT_EQ(StatusReason(CheckModelName("org", model)), "MODEL_NOT_FOUND");
}

TEST(ConvertTest, RefusesImagesOfATextModel) {
  ModelInfo model = TestModel();
  model.takes_images = false;
  ExpectFaults({{"raw_prompt { text: '<image>' images { data: 'x' } }", "raw_prompt.images",
                 "text only", ErrorReason::kModalityNotSupported}},
               model);
}

TEST(ConvertTest, RefusesImagesOver20MiB) {
  v1::GenerateRequest message;
  message.mutable_raw_prompt()->set_text("<image>");
  std::string* data = message.mutable_raw_prompt()->add_images()->mutable_data();
  data->assign(size_t{20} << 20, 'x');
  EXPECT_TRUE(ToRequest(message, TestModel(), {}).ok());
  data->push_back('x');
  const auto request = ToRequest(message, TestModel(), {});
  EXPECT_EQ(StatusReason(request.status()), "IMAGE_TOO_LARGE");
  EXPECT_EQ(StatusField(request.status()), "raw_prompt.images[0].data");
  EXPECT_EQ(ErrorMetadata(request.status())["bytes"], "20971521");
}

TEST(ConvertTest, CountsCharactersOfIdsNotBytes) {
  std::string id;
  for (int i = 0; i < 128; ++i) id += "ä";
  EXPECT_TRUE(CheckRequestId(id).ok());
  EXPECT_FALSE(CheckRequestId(id + "x").ok());
  EXPECT_FALSE(CheckRequestId("a\u0080").ok());
  EXPECT_FALSE(CheckRequestId("\u009f").ok());
  EXPECT_TRUE(CheckRequestId("a\u00a0é").ok());
}

struct RangeCase {
  std::string field;
  std::vector<std::string> good;
  std::vector<std::string> bad;
};

TEST(SamplingTest, EveryFieldHasItsRange) {
  const std::vector<RangeCase> cases = {
      {"temperature", {"0", "1.5", "100"}, {"-0.1", "100.1", "nan", "inf"}},
      {"top_k", {"0", "40", "2147483647"}, {"-1"}},
      {"top_p", {"0.001", "1"}, {"0", "1.001", "-1", "nan"}},
      {"min_p", {"0", "1"}, {"-0.001", "1.001", "nan"}},
      {"repetition_penalty", {"0.1", "100"}, {"0", "-1", "100.5", "nan"}},
      {"presence_penalty", {"-2", "2"}, {"-2.01", "2.01", "nan"}},
      {"frequency_penalty", {"-2", "2"}, {"-2.01", "2.01", "nan"}},
      {"max_tokens", {"1", "100"}, {"0", "-1", "101"}},
      {"min_tokens", {"0", "100"}, {"-1", "101"}},
      {"logprobs", {"0", "20"}, {"-1", "21"}},
      {"stop_token_ids", {"0", "49"}, {"-1", "50"}},
      {"stop",
       {"'x'", "'" + std::string(256, 'x') + "'"},
       {"''", "'" + std::string(257, 'x') + "'"}},
  };
  for (const RangeCase& range : cases) {
    const auto convert = [&](const std::string& value) {
      return ToRequest(Parse(kQuestion + ("sampling { " + range.field) + ": " + value + " }"),
                       TestModel(), {})
          .status();
    };
    for (const std::string& value : range.good) {
      EXPECT_TRUE(convert(value).ok()) << range.field << " " << convert(value);
    }
    for (const std::string& value : range.bad) {
      EXPECT_EQ(StatusReason(convert(value)), "INVALID_PARAMETER") << range.field << " " << value;
      EXPECT_TRUE(StatusField(convert(value)).starts_with("sampling." + range.field)) << value;
    }
  }
}

TEST(SamplingTest, BoundsItsLists) {
  v1::GenerateRequest message = Parse(kQuestion);
  v1::SamplingParams* sampling = message.mutable_sampling();
  const auto field = [&] { return StatusField(ToRequest(message, TestModel(), {}).status()); };
  for (int i = 0; i < 17; ++i) sampling->add_stop("x");
  EXPECT_EQ(field(), "sampling.stop");
  sampling->mutable_stop()->RemoveLast();
  EXPECT_EQ(field(), "");
  for (int i = 0; i < 65; ++i) sampling->add_stop_token_ids(1);
  EXPECT_EQ(field(), "sampling.stop_token_ids");
  sampling->mutable_stop_token_ids()->RemoveLast();
  for (int i = 0; i < 1025; ++i) (*sampling->mutable_logit_bias())[i] = 1;
  EXPECT_EQ(field(), "sampling.logit_bias");
  sampling->mutable_logit_bias()->clear();
  (*sampling->mutable_logit_bias())[50] = 1;
  EXPECT_EQ(field(), "sampling.logit_bias[50]");
  sampling->mutable_logit_bias()->clear();
  (*sampling->mutable_logit_bias())[3] = 100.5f;
  EXPECT_EQ(field(), "sampling.logit_bias[3]");
}

TEST(SamplingTest, MinTokensStayBelowMaxTokens) {
  ExpectFaults({{std::string(kQuestion) + "sampling { max_tokens: 5 min_tokens: 6 }",
                 "sampling.min_tokens", "[0, 5]"}});
}

TEST(SamplingTest, TellsUnsetFromZero) {
  const auto unset = ToRequest(Parse(kQuestion), TestModel(), Call(4));
  ASSERT_TRUE(unset.ok());
  EXPECT_EQ(unset->sampling.temperature, std::nullopt) << "the model's";
  EXPECT_EQ(unset->sampling.top_k, std::nullopt);
  EXPECT_EQ(unset->sampling.top_p, std::nullopt);
  EXPECT_EQ(unset->sampling.min_p, std::nullopt);
  EXPECT_EQ(unset->sampling.repetition_penalty, std::nullopt);
  const auto zero = ToRequest(
      Parse(std::string(kQuestion) + "sampling { temperature: 0 top_k: 0 }"), TestModel(), Call(4));
  ASSERT_TRUE(zero.ok());
  EXPECT_EQ(zero->sampling.temperature, 0.f);
  EXPECT_EQ(zero->sampling.top_k, 0);
  EXPECT_EQ(unset->sampling.max_tokens, 0);
  EXPECT_EQ(unset->sampling.logprobs, -1);
  EXPECT_EQ(unset->sampling.seed, 4u);
  const auto set = ToRequest(
      Parse(std::string(kQuestion) +
            "sampling { seed: 0 logprobs: 0 temperature: 0.7 top_k: 5 top_p: 0.9 min_p: 0.1 "
            "repetition_penalty: 1.1 presence_penalty: 0.2 frequency_penalty: 0.3 max_tokens: 7 "
            "min_tokens: 2 stop: 'end' stop_token_ids: 3 ignore_eos: true "
            "logit_bias { key: 9 value: -1 } logit_bias { key: 2 value: 1 } }"),
      TestModel(), Call(4));
  ASSERT_TRUE(set.ok()) << set.status();
  const SamplingParams& p = set->sampling;
  EXPECT_EQ(p.seed, 0u);
  EXPECT_EQ(p.logprobs, 0);
  EXPECT_EQ(p.temperature, 0.7f);
  EXPECT_EQ(p.top_k, 5);
  EXPECT_EQ(p.top_p, 0.9f);
  EXPECT_EQ(p.min_p, 0.1f);
  EXPECT_EQ(p.repetition_penalty, 1.1f);
  EXPECT_EQ(p.presence_penalty, 0.2f);
  EXPECT_EQ(p.frequency_penalty, 0.3f);
  EXPECT_EQ(p.max_tokens, 7);
  EXPECT_EQ(p.min_tokens, 2);
  EXPECT_EQ(p.stop, std::vector<std::string>{"end"});
  EXPECT_EQ(p.stop_ids, std::vector<int32_t>{3});
  EXPECT_TRUE(p.ignore_eos);
  EXPECT_EQ(p.logit_bias, (std::vector<std::pair<int32_t, float>>{{2, 1.f}, {9, -1.f}}));
}

TEST(ConvertTest, TellsEveryFactOfTheModel) {
  ModelInfo model = TestModel();
  model.architecture = "moe_llava_phi";
  model.image_tokens = 576;
  model.image_mode = ImageMode::kPad;
  model.parameters = 10;
  model.active_parameters = 5;
  model.weight_bytes = 20;
  model.weight_dtype = "int4";
  model.kv_dtype = "fp8";
  model.kv_bytes_per_token = 30;
  model.layers = 4;
  model.moe_layers = 2;
  model.experts = 8;
  model.experts_per_token = 2;
  model.eos_ids = {1, 2};
  model.dtype = "float32";
  model.device = "cpu";
  model.other_names = {"org/tiny"};
  model.warnings = {"odd"};
  model.default_sampling = {
      .temperature = 0.7f, .top_k = 20, .top_p = 0.8f, .min_p = 0, .repetition_penalty = 1.05f};
  EXPECT_EQ(ToProto(model).ShortDebugString(),
            "name: \"tiny\" architecture: \"moe_llava_phi\" dtype: \"float32\" device: \"cpu\" "
            "max_context_tokens: 100 vocabulary_size: 50 takes_images: true tokens_per_image: 576 "
            "default_image_mode: IMAGE_MODE_PAD parameters: 10 active_parameters: 5 "
            "weight_bytes: 20 kv_bytes_per_token: 30 layers: 4 moe_layers: 2 experts: 8 "
            "experts_per_token: 2 eos_token_ids: 1 eos_token_ids: 2 max_images: 2 "
            "default_sampling { temperature: 0.7 top_k: 20 top_p: 0.8 min_p: 0 "
            "repetition_penalty: 1.05 } kv_dtype: \"fp8\" weight_dtype: \"int4\" "
            "served_names: \"tiny\" served_names: \"org/tiny\" warnings: \"odd\"");
}

TEST(ConvertTest, TellsEveryFigureOfTheUsage) {
  const Usage usage{.prompt_tokens = 1,
                    .text_tokens = 2,
                    .image_tokens = 3,
                    .cached_tokens = 4,
                    .generated_tokens = 5,
                    .preemptions = 11,
                    .reduced_images = 12,
                    .queue_ms = 6,
                    .preprocess_ms = 7,
                    .encode_ms = 8,
                    .prefill_ms = 9,
                    .decode_ms = 10};
  EXPECT_EQ(ToProto(usage).ShortDebugString(),
            "prompt_tokens: 1 text_tokens: 2 image_tokens: 3 cached_tokens: 4 generated_tokens: 5 "
            "queue_ms: 6 preprocess_ms: 7 encode_ms: 8 prefill_ms: 9 decode_ms: 10 preemptions: 11 "
            "reduced_images: 12");
}

}  // namespace
}  // namespace tessera
