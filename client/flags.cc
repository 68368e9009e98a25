#include "client/flags.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <iostream>
#include <iterator>

#include "client/terminal.h"
#include "client/utf8.h"

namespace tessera {
namespace {

// "ID=VALUE"; throws what CLI11 turns into a usage error.
void AddBias(const std::string& text, v1::SamplingParams* params) {
  const size_t equals = text.find('=');
  int32_t id = 0;
  float bias = 0;
  if (equals == std::string::npos || !CLI::detail::lexical_cast(text.substr(0, equals), id) ||
      !CLI::detail::lexical_cast(text.substr(equals + 1), bias)) {
    throw CLI::ValidationError("--logit-bias", "\"" + text + "\" is not ID=VALUE, such as 42=-5");
  }
  (*params->mutable_logit_bias())[id] = bias;
}

}  // namespace

std::string IsUtf8(const std::string& text) {
  return std::string(CheckUtf8("the text", text).message());
}

absl::StatusOr<absl::Duration> ParseTimeout(const std::string& text) {
  double seconds = 0;
  absl::Duration timeout;
  if (CLI::detail::lexical_cast(text, seconds)) {
    timeout = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &timeout)) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is not a time such as 30s, 500ms or 2m", text));
  }
  if (timeout < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(fmt::format("\"{}\" is negative", text));
  }
  return timeout == absl::ZeroDuration() ? absl::InfiniteDuration() : timeout;
}

void AddConnectionFlags(CLI::App& app, absl::Duration default_timeout, ConnectionFlags* flags) {
  flags->timeout = default_timeout;
  app.add_option("--address", flags->address, "The server's HOST:PORT")->capture_default_str();
  app.add_option_function<std::string>(
         "--timeout",
         [flags](const std::string& text) {
           const absl::StatusOr<absl::Duration> timeout = ParseTimeout(text);
           if (!timeout.ok())
             throw CLI::ValidationError("--timeout", std::string(timeout.status().message()));
           flags->timeout = *timeout;
         },
         "Time for one call, such as 30s or 2m; 0: no limit")
      ->default_str(absl::FormatDuration(default_timeout));
}

void AddPromptFlags(CLI::App& app, PromptSource* source, v1::GenerateRequest* request) {
  app.add_option("question", source->question,
                 "The question; read from standard input when not given")
      ->check(IsUtf8);
  app.add_option("--image", source->images,
                 "An image (JPEG, PNG, WebP) before the question; repeatable")
      ->allow_extra_args(false);
  app.add_option("--system", source->system, "Replaces the model's system text")->check(IsUtf8);
  app.add_option("--messages", source->messages_file,
                 "A conversation: JSON array of {\"role\", \"content\"}, content a string or parts "
                 "{\"text\"} and {\"image\": path relative to the file}");
  app.add_option("--prompt-raw", source->raw, "A prompt as it is, with <image> where images go")
      ->check(IsUtf8);
  app.add_option("--token-ids", source->token_ids_file,
                 "JSON array of token ids, -200 where images go");
  app.add_option_function<std::string>(
         "--model", [request](const std::string& name) { request->set_model(name); },
         "A served model's name")
      ->check(IsUtf8);
  app.add_flag_callback(
      "--parse-special-tokens", [request] { request->set_parse_special_tokens(true); },
      "Special strings in texts become special tokens");
}

void AddSamplingFlags(CLI::App& app, v1::SamplingParams* params) {
  const auto real = [&](const char* name, auto setter, const char* text) {
    app.add_option_function<float>(
        name, [=](float value) { (params->*setter)(value); }, text);
  };
  const auto whole = [&](const char* name, auto setter, const char* text) {
    app.add_option_function<int32_t>(
        name, [=](int32_t value) { (params->*setter)(value); }, text);
  };
  using P = v1::SamplingParams;
  whole("--max-tokens", &P::set_max_tokens, "Tokens of the answer at most");
  real("--temperature", &P::set_temperature, "0 is greedy; default: the model's");
  whole("--top-k", &P::set_top_k, "Only this many most likely tokens; 0: all");
  real("--top-p", &P::set_top_p,
       "Only the most likely tokens that together reach this probability");
  real("--min-p", &P::set_min_p, "Only tokens with this share of the best one's probability");
  real("--repetition-penalty", &P::set_repetition_penalty, "Divides the logits of tokens seen");
  real("--presence-penalty", &P::set_presence_penalty, "Taken once from tokens in the answer");
  real("--frequency-penalty", &P::set_frequency_penalty, "Taken for each time in the answer");
  app.add_option_function<std::vector<std::string>>(
         "--logit-bias",
         [params](const std::vector<std::string>& all) {
           for (const std::string& text : all) AddBias(text, params);
         },
         "ID=VALUE, added to that token's logit; repeatable")
      ->allow_extra_args(false);
  app.add_option_function<uint64_t>(
      "--seed", [params](uint64_t seed) { params->set_seed(seed); }, "Makes sampling repeatable");
  whole("--min-tokens", &P::set_min_tokens, "Nothing ends the answer before");
  app.add_option_function<std::vector<std::string>>(
         "--stop",
         [params](const std::vector<std::string>& all) {
           params->mutable_stop()->Assign(all.begin(), all.end());
         },
         "Ends the answer before this text; repeatable")
      ->allow_extra_args(false)
      ->check(IsUtf8);
  app.add_option_function<std::vector<int32_t>>(
         "--stop-id",
         [params](const std::vector<int32_t>& all) {
           params->mutable_stop_token_ids()->Assign(all.begin(), all.end());
         },
         "Ends the answer at this token id; repeatable")
      ->allow_extra_args(false);
  whole("--logprobs", &P::set_logprobs, "Log-probabilities of this many best tokens (with --json)");
  app.add_flag_callback(
      "--ignore-eos", [params] { params->set_ignore_eos(true); },
      "End tokens do not end the answer");
}

void AddImageLimitFlag(CLI::App& app, v1::GenerateRequest* request) {
  app.add_option_function<int32_t>(
      "--max-image-tokens", [request](int32_t tokens) { request->set_max_image_tokens(tokens); },
      "Tokens that an image may take where its size decides; larger ones are shrunk");
}

void AddRequestFlags(CLI::App& app, v1::GenerateRequest* request) {
  app.add_option_function<std::string>(
         "--image-mode",
         [request](const std::string& mode) {
           request->set_image_mode(mode == "pad" ? v1::IMAGE_MODE_PAD : v1::IMAGE_MODE_CROP);
         },
         "How images are brought to the model's square")
      ->check(CLI::IsMember({"pad", "crop"}));
  AddImageLimitFlag(app, request);
  app.add_option_function<std::string>(
         "--cache-salt", [request](const std::string& salt) { request->set_cache_salt(salt); },
         "Only requests with the same salt share cached prefixes")
      ->check(IsUtf8);
  app.add_option_function<std::string>(
         "--request-id", [request](const std::string& id) { request->set_request_id(id); },
         "Echoed in the answer and the server's logs")
      ->check(IsUtf8);
}

absl::Status CompletePrompt(PromptSource* source) {
  const int inputs = source->question.has_value() + source->messages_file.has_value() +
                     source->raw.has_value() + source->token_ids_file.has_value();
  if (inputs > 1) {
    return absl::InvalidArgumentError(
        "give one of: a question, --messages, --prompt-raw, --token-ids");
  }
  if (inputs == 1) return absl::OkStatus();
  if (IsTerminal(STDIN_FILENO)) {
    return absl::InvalidArgumentError("no question: give one as an argument or on standard input");
  }
  std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  if (!text.empty() && text.back() == '\n') text.pop_back();
  if (text.empty()) return absl::InvalidArgumentError("no question: standard input is empty");
  source->question = std::move(text);
  return CheckUtf8("standard input", *source->question);
}

}  // namespace tessera
