#include "client/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <string_view>

namespace tessera {
namespace {

// FINISH_REASON_STOP → "stop".
std::string EnumName(const std::string& full, size_t prefix) {
  std::string name = full.substr(std::min(prefix, full.size()));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

Json UsageJson(const v1::Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens()},
          {"text_tokens", usage.text_tokens()},
          {"image_tokens", usage.image_tokens()},
          {"cached_tokens", usage.cached_tokens()},
          {"generated_tokens", usage.generated_tokens()},
          {"queue_ms", usage.queue_ms()},
          {"preprocess_ms", usage.preprocess_ms()},
          {"encode_ms", usage.encode_ms()},
          {"prefill_ms", usage.prefill_ms()},
          {"decode_ms", usage.decode_ms()},
          {"preemptions", usage.preemptions()},
          {"reduced_images", usage.reduced_images()}};
}

// 0.7, where a double would tell the float's last bits.
Json ShortNumber(float value) { return Json::parse(fmt::format("{}", value), nullptr, false); }

Json DefaultsJson(const v1::SamplingParams& defaults) {
  return {{"temperature", ShortNumber(defaults.temperature())},
          {"top_k", defaults.top_k()},
          {"top_p", ShortNumber(defaults.top_p())},
          {"min_p", ShortNumber(defaults.min_p())},
          {"repetition_penalty", ShortNumber(defaults.repetition_penalty())}};
}

// `bytes` tells what `token` cannot where a token is half a character.
Json LogprobJson(const v1::TokenLogprob& logprob) {
  Json bytes = Json::array();
  for (const unsigned char byte : logprob.token()) bytes.push_back(byte);
  return {{"id", logprob.id()},
          {"token", logprob.token()},
          {"bytes", bytes},
          {"logprob", logprob.logprob()}};
}

Json LogprobsJson(const v1::TokenLogprobs& logprobs) {
  Json top = Json::array();
  for (const v1::TokenLogprob& logprob : logprobs.top()) top.push_back(LogprobJson(logprob));
  return {{"chosen", LogprobJson(logprobs.chosen())}, {"top", top}};
}

// JSON lets DEL and the controls U+0080 to U+009F stand as they are; a terminal would obey them.
std::string EscapeControls(std::string_view json) {
  std::string escaped;
  escaped.reserve(json.size());
  for (size_t i = 0; i < json.size(); ++i) {
    const auto byte = static_cast<unsigned char>(json[i]);
    const auto next = static_cast<unsigned char>(i + 1 < json.size() ? json[i + 1] : 0);
    if (byte == 0x7F) {
      escaped += "\\u007f";
    } else if (byte == 0xC2 && next >= 0x80 && next <= 0x9F) {
      fmt::format_to(std::back_inserter(escaped), "\\u{:04x}", next);
      ++i;
    } else {
      escaped += json[i];
    }
  }
  return escaped;
}

std::string Dump(const Json& json) {
  return EscapeControls(json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void PrintInto(const Json& json, size_t depth, std::string* text) {
  const bool flat = json.is_primitive() || json.empty() ||
                    (json.is_array() && std::all_of(json.begin(), json.end(), [](const Json& item) {
                       return item.is_number();
                     }));
  if (flat) {
    *text += Dump(json);
    return;
  }
  const std::string indent(2 * (depth + 1), ' ');
  *text += json.is_array() ? "[" : "{";
  std::string separator = "\n";
  for (const auto& [key, value] : json.items()) {
    *text += separator + indent;
    if (json.is_object()) *text += Dump(Json(key)) + ": ";
    PrintInto(value, depth + 1, text);
    separator = ",\n";
  }
  *text += "\n" + std::string(2 * depth, ' ') + (json.is_array() ? "]" : "}");
}

}  // namespace

std::string FinishReasonName(v1::FinishReason reason) {
  return EnumName(v1::FinishReason_Name(reason), sizeof("FINISH_REASON_") - 1);
}

Json AnswerJson(const v1::GenerateResponse& answer) {
  Json json = {
      {"request_id", answer.request_id()},
      {"model", answer.model()},
      {"text", answer.text()},
      {"token_ids", Json(std::vector<int>(answer.token_ids().begin(), answer.token_ids().end()))},
      {"finish_reason", FinishReasonName(answer.finish_reason())},
      {"usage", UsageJson(answer.usage())},
      {"prompt_token_ids",
       Json(std::vector<int>(answer.prompt_token_ids().begin(), answer.prompt_token_ids().end()))}};
  for (const v1::TokenLogprobs& logprobs : answer.logprobs()) {
    json["logprobs"].push_back(LogprobsJson(logprobs));
  }
  return json;
}

Json CountJson(const v1::CountTokensResponse& count) {
  return {{"prompt_tokens", count.prompt_tokens()},
          {"text_tokens", count.text_tokens()},
          {"image_tokens", count.image_tokens()},
          {"prompt_token_ids", Json(std::vector<int>(count.prompt_token_ids().begin(),
                                                     count.prompt_token_ids().end()))}};
}

Json ModelJson(const v1::Model& model) {
  return {{"name", model.name()},
          {"architecture", model.architecture()},
          {"dtype", model.dtype()},
          {"device", model.device()},
          {"max_context_tokens", model.max_context_tokens()},
          {"vocabulary_size", model.vocabulary_size()},
          {"takes_images", model.takes_images()},
          {"tokens_per_image", model.tokens_per_image()},
          {"default_image_mode",
           EnumName(v1::ImageMode_Name(model.default_image_mode()), sizeof("IMAGE_MODE_") - 1)},
          {"parameters", model.parameters()},
          {"active_parameters", model.active_parameters()},
          {"weight_bytes", model.weight_bytes()},
          {"weight_dtype", model.weight_dtype()},
          {"kv_dtype", model.kv_dtype()},
          {"kv_bytes_per_token", model.kv_bytes_per_token()},
          {"layers", model.layers()},
          {"moe_layers", model.moe_layers()},
          {"experts", model.experts()},
          {"experts_per_token", model.experts_per_token()},
          {"eos_token_ids",
           Json(std::vector<int>(model.eos_token_ids().begin(), model.eos_token_ids().end()))},
          {"max_images", model.max_images()},
          {"default_sampling", DefaultsJson(model.default_sampling())},
          {"served_names", Json(std::vector<std::string>(model.served_names().begin(),
                                                         model.served_names().end()))},
          {"warnings",
           Json(std::vector<std::string>(model.warnings().begin(), model.warnings().end()))}};
}

std::string Print(const Json& json) {
  std::string text;
  PrintInto(json, 0, &text);
  return text + "\n";
}

}  // namespace tessera
