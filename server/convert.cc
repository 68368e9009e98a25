#include "server/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "server/mime_type.h"
#include "server/sampling.h"

namespace tessera {
namespace {

constexpr size_t kMaxRequestIdChars = 128;
constexpr size_t kMaxCacheSaltBytes = 128;
constexpr size_t kMaxImageBytes = size_t{20} << 20;
constexpr int32_t kImageToken = -200;
constexpr std::string_view kImageMark = "<image>";

absl::StatusOr<EncodedImage> ToImage(v1::Image& image, const std::string& path) {
  if (image.data().empty()) {
    return RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kImageDecodeFailed,
                        path + ".data", "must hold a JPEG, PNG or WebP file, but is empty");
  }
  if (image.data().size() > kMaxImageBytes) {
    const std::string size = std::to_string(image.data().size());
    return WithErrorMetadata(
        RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kImageTooLarge,
                     path + ".data", fmt::format("has {} bytes; at most 20 MiB are taken", size)),
        "bytes", size);
  }
  std::optional<std::string> type = ImageType(image.mime_type());
  if (!type) {
    return InvalidField(path + ".mime_type",
                        fmt::format("must be image/jpeg, image/png or image/webp, not \"{}\"",
                                    image.mime_type().substr(0, 64)));
  }
  return EncodedImage{.bytes = std::move(*image.mutable_data()), .mime_type = *std::move(type)};
}

absl::StatusOr<std::vector<EncodedImage>> ToImages(
    google::protobuf::RepeatedPtrField<v1::Image>& images, const std::string& path) {
  std::vector<EncodedImage> result;
  for (int i = 0; i < images.size(); ++i) {
    ASSIGN_OR_RETURN(EncodedImage image, ToImage(images[i], fmt::format("{}[{}]", path, i)));
    result.push_back(std::move(image));
  }
  return result;
}

absl::Status CheckImageCount(int64_t images, std::string_view field, const ModelInfo& model) {
  if (images == 0) return absl::OkStatus();
  if (!model.takes_images) {
    return WithErrorMetadata(
        RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kModalityNotSupported, field,
                     fmt::format("holds images, but the model \"{}\" takes text only", model.name)),
        "model", model.name);
  }
  if (images > model.max_images) {
    return WithErrorMetadata(
        WithErrorMetadata(
            RequestError(
                absl::StatusCode::kInvalidArgument, ErrorReason::kTooManyImages, field,
                fmt::format("holds {} images; at most {} are taken", images, model.max_images)),
            "images", std::to_string(images)),
        "max_images", std::to_string(model.max_images));
  }
  return absl::OkStatus();
}

absl::Status CheckMarks(int64_t marks, int64_t images, std::string_view field,
                        std::string_view mark) {
  if (marks == images) return absl::OkStatus();
  return InvalidField(field, fmt::format("has {} places {} for {} images", marks, mark, images));
}

absl::StatusOr<Role> ToRole(v1::Role role, int index, const std::string& path) {
  switch (role) {
    case v1::ROLE_USER:
      return Role::kUser;
    case v1::ROLE_ASSISTANT:
      return Role::kAssistant;
    case v1::ROLE_SYSTEM:
      if (index == 0) return Role::kSystem;
      return InvalidField(path, "is ROLE_SYSTEM; only the first message's may be");
    default:
      return InvalidField(path, fmt::format("must be ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT, "
                                            "not {}",
                                            static_cast<int>(role)));
  }
}

absl::StatusOr<Message> ToMessage(v1::Message& message, int index, const std::string& path) {
  Message result;
  ASSIGN_OR_RETURN(result.role, ToRole(message.role(), index, path + ".role"));
  if (message.parts().empty()) return InvalidField(path + ".parts", "must not be empty");
  for (int i = 0; i < message.parts_size(); ++i) {
    v1::Part& part = *message.mutable_parts(i);
    const std::string part_path = fmt::format("{}.parts[{}]", path, i);
    if (part.has_text()) {
      result.parts.emplace_back(std::move(*part.mutable_text()));
    } else if (!part.has_image()) {
      return InvalidField(part_path, "must hold text or image");
    } else if (result.role != Role::kUser) {
      return InvalidField(part_path + ".image", "is an image; only the user's messages hold some");
    } else {
      ASSIGN_OR_RETURN(EncodedImage image, ToImage(*part.mutable_image(), part_path + ".image"));
      result.parts.emplace_back(std::move(image));
    }
  }
  return result;
}

absl::StatusOr<Input> ToInput(v1::Conversation& conversation, const ModelInfo& model) {
  const std::string path = "conversation.messages";
  if (conversation.messages().empty()) return InvalidField(path, "must not be empty");
  std::vector<Message> messages;
  int64_t images = 0;
  for (int i = 0; i < conversation.messages_size(); ++i) {
    const std::string message_path = fmt::format("{}[{}]", path, i);
    ASSIGN_OR_RETURN(Message message,
                     ToMessage(*conversation.mutable_messages(i), i, message_path));
    images += std::ranges::count_if(
        message.parts, [](const auto& part) { return std::holds_alternative<EncodedImage>(part); });
    messages.push_back(std::move(message));
  }
  if (messages.back().role != Role::kUser) {
    return InvalidField(fmt::format("{}[{}].role", path, messages.size() - 1),
                        "must be ROLE_USER: the last message is what is answered");
  }
  RETURN_IF_ERROR(CheckImageCount(images, path, model));
  return messages;
}

absl::StatusOr<Input> ToInput(v1::RawPrompt& prompt, const ModelInfo& model) {
  RETURN_IF_ERROR(CheckImageCount(prompt.images_size(), "raw_prompt.images", model));
  int64_t marks = 0;
  for (size_t at = prompt.text().find(kImageMark); at != std::string::npos;
       at = prompt.text().find(kImageMark, at + kImageMark.size())) {
    ++marks;
  }
  RETURN_IF_ERROR(CheckMarks(marks, prompt.images_size(), "raw_prompt.text", "\"<image>\""));
  ASSIGN_OR_RETURN(std::vector<EncodedImage> images,
                   ToImages(*prompt.mutable_images(), "raw_prompt.images"));
  return RawPrompt{.text = std::move(*prompt.mutable_text()), .images = std::move(images)};
}

absl::StatusOr<Input> ToInput(v1::TokenPrompt& prompt, const ModelInfo& model) {
  if (prompt.ids().empty()) return InvalidField("token_prompt.ids", "must not be empty");
  for (int i = 0; i < prompt.ids_size(); ++i) {
    const int32_t id = prompt.ids(i);
    if (id == kImageToken || (id >= 0 && id < model.vocabulary)) continue;
    return InvalidField(fmt::format("token_prompt.ids[{}]", i),
                        fmt::format("must be in [0, {}) or -200, not {}", model.vocabulary, id));
  }
  RETURN_IF_ERROR(CheckImageCount(prompt.images_size(), "token_prompt.images", model));
  RETURN_IF_ERROR(CheckMarks(std::ranges::count(prompt.ids(), kImageToken), prompt.images_size(),
                             "token_prompt.ids", "-200"));
  ASSIGN_OR_RETURN(std::vector<EncodedImage> images,
                   ToImages(*prompt.mutable_images(), "token_prompt.images"));
  return TokenPrompt{.ids = {prompt.ids().begin(), prompt.ids().end()},
                     .images = std::move(images)};
}

// GenerateRequest and CountTokensRequest have the same `input`.
template <typename RequestMessage>
absl::StatusOr<Input> ToAnyInput(RequestMessage& message, const ModelInfo& model) {
  if (message.has_conversation()) return ToInput(*message.mutable_conversation(), model);
  if (message.has_raw_prompt()) return ToInput(*message.mutable_raw_prompt(), model);
  if (message.has_token_prompt()) return ToInput(*message.mutable_token_prompt(), model);
  return InvalidField("input", "must be one of conversation, raw_prompt and token_prompt");
}

absl::StatusOr<std::optional<ImageMode>> ToImageMode(v1::ImageMode mode) {
  switch (mode) {
    case v1::IMAGE_MODE_UNSPECIFIED:
      return std::nullopt;
    case v1::IMAGE_MODE_PAD:
      return ImageMode::kPad;
    case v1::IMAGE_MODE_CROP:
      return ImageMode::kCrop;
    case v1::IMAGE_MODE_STRETCH:
      return ImageMode::kStretch;
    default:
      return InvalidField("image_mode", fmt::format("must be a value of ImageMode, not {}",
                                                    static_cast<int>(mode)));
  }
}

// GenerateRequest and CountTokensRequest have the same `max_image_tokens`.
template <typename RequestMessage>
absl::StatusOr<std::optional<int32_t>> ToMaxImageTokens(const RequestMessage& message) {
  if (!message.has_max_image_tokens()) return std::nullopt;
  if (message.max_image_tokens() < 1) {
    return InvalidField("max_image_tokens",
                        fmt::format("must be at least 1, not {}", message.max_image_tokens()));
  }
  return message.max_image_tokens();
}

v1::SamplingParams ToProto(const GenerationDefaults& defaults) {
  v1::SamplingParams message;
  message.set_temperature(defaults.temperature);
  message.set_top_k(defaults.top_k);
  message.set_top_p(defaults.top_p);
  message.set_min_p(defaults.min_p);
  message.set_repetition_penalty(defaults.repetition_penalty);
  return message;
}

v1::ImageMode ToProto(ImageMode mode) {
  switch (mode) {
    case ImageMode::kPad:
      return v1::IMAGE_MODE_PAD;
    case ImageMode::kCrop:
      return v1::IMAGE_MODE_CROP;
    case ImageMode::kStretch:
      return v1::IMAGE_MODE_STRETCH;
  }
  return v1::IMAGE_MODE_UNSPECIFIED;
}

}  // namespace

namespace {

// U+0080 to U+009F: in UTF-8 the byte C2 and one of 80 to 9F.
bool HoldsC1Control(const std::string& text) {
  return std::ranges::adjacent_find(text, [](unsigned char first, unsigned char second) {
           return first == 0xC2 && second >= 0x80 && second < 0xA0;
         }) != text.end();
}

}  // namespace

absl::Status CheckRequestId(const std::string& id) {
  // Bytes that continue a UTF-8 character are not counted.
  const auto chars = static_cast<size_t>(
      std::ranges::count_if(id, [](unsigned char byte) { return (byte & 0xC0) != 0x80; }));
  if (chars > kMaxRequestIdChars) {
    return InvalidField("request_id",
                        fmt::format("has {} characters; at most 128 are taken", chars));
  }
  if (std::ranges::any_of(id, [](unsigned char byte) { return byte < 0x20 || byte == 0x7F; }) ||
      HoldsC1Control(id)) {
    return InvalidField("request_id", "holds a control character");
  }
  return absl::OkStatus();
}

absl::Status CheckModelName(const std::string& name, const ModelInfo& model) {
  if (name.empty() || name == model.name) return absl::OkStatus();
  const std::vector<std::string>& others = model.other_names;
  if (std::ranges::find(others, name) != others.end()) return absl::OkStatus();
  const std::string shown = name.substr(0, 128);
  return WithErrorMetadata(
      RequestError(absl::StatusCode::kNotFound, ErrorReason::kModelNotFound, "model",
                   fmt::format("\"{}\" is not served here; \"{}\" is", shown, model.name)),
      "model", shown);
}

absl::StatusOr<Request> ToRequest(v1::GenerateRequest message, const ModelInfo& model,
                                  const CallFacts& call) {
  RETURN_IF_ERROR(CheckRequestId(message.request_id()));
  RETURN_IF_ERROR(CheckModelName(message.model(), model));
  if (message.cache_salt().size() > kMaxCacheSaltBytes) {
    return InvalidField("cache_salt", fmt::format("has {} bytes; at most 128 are taken",
                                                  message.cache_salt().size()));
  }
  Request request;
  request.id = call.request_id;
  request.deadline = call.deadline;
  request.parse_special_tokens = message.parse_special_tokens();
  request.cache_salt = message.cache_salt();
  ASSIGN_OR_RETURN(request.image_mode, ToImageMode(message.image_mode()));
  ASSIGN_OR_RETURN(request.max_image_tokens, ToMaxImageTokens(message));
  ASSIGN_OR_RETURN(request.sampling, ToSampling(message.sampling(), model, call.seed));
  ASSIGN_OR_RETURN(request.input, ToAnyInput(message, model));
  return request;
}

absl::StatusOr<Request> ToRequest(v1::CountTokensRequest message, const ModelInfo& model,
                                  const CallFacts& call) {
  RETURN_IF_ERROR(CheckModelName(message.model(), model));
  Request request;
  request.id = call.request_id;
  request.deadline = call.deadline;
  request.parse_special_tokens = message.parse_special_tokens();
  ASSIGN_OR_RETURN(request.max_image_tokens, ToMaxImageTokens(message));
  ASSIGN_OR_RETURN(request.input, ToAnyInput(message, model));
  return request;
}

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return v1::FINISH_REASON_UNSPECIFIED;
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case FinishReason::kCancelled:
      return v1::FINISH_REASON_CANCELLED;
    case FinishReason::kDeadline:
      return v1::FINISH_REASON_DEADLINE;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

v1::Usage ToProto(const Usage& usage) {
  v1::Usage message;
  message.set_prompt_tokens(usage.prompt_tokens);
  message.set_text_tokens(usage.text_tokens);
  message.set_image_tokens(usage.image_tokens);
  message.set_cached_tokens(usage.cached_tokens);
  message.set_generated_tokens(usage.generated_tokens);
  message.set_queue_ms(usage.queue_ms);
  message.set_preprocess_ms(usage.preprocess_ms);
  message.set_encode_ms(usage.encode_ms);
  message.set_prefill_ms(usage.prefill_ms);
  message.set_decode_ms(usage.decode_ms);
  message.set_preemptions(usage.preemptions);
  message.set_reduced_images(usage.reduced_images);
  return message;
}

v1::Model ToProto(const ModelInfo& model) {
  v1::Model message;
  message.set_name(model.name);
  message.add_served_names(model.name);
  for (const std::string& name : model.other_names) message.add_served_names(name);
  message.set_architecture(model.architecture);
  message.set_dtype(model.dtype);
  message.set_device(model.device);
  message.set_max_context_tokens(model.max_context);
  message.set_vocabulary_size(model.vocabulary);
  message.set_takes_images(model.takes_images);
  message.set_tokens_per_image(model.image_tokens);
  if (model.takes_images) message.set_default_image_mode(ToProto(model.image_mode));
  message.set_parameters(model.parameters);
  message.set_active_parameters(model.active_parameters);
  message.set_weight_bytes(model.weight_bytes);
  message.set_weight_dtype(model.weight_dtype);
  message.set_kv_dtype(model.kv_dtype);
  message.set_kv_bytes_per_token(model.kv_bytes_per_token);
  message.set_layers(model.layers);
  message.set_moe_layers(model.moe_layers);
  message.set_experts(model.experts);
  message.set_experts_per_token(model.experts_per_token);
  message.mutable_eos_token_ids()->Assign(model.eos_ids.begin(), model.eos_ids.end());
  if (model.takes_images) message.set_max_images(model.max_images);
  *message.mutable_default_sampling() = ToProto(model.default_sampling);
  message.mutable_warnings()->Assign(model.warnings.begin(), model.warnings.end());
  return message;
}

v1::TokenLogprob ToProto(const TokenLogprob& logprob) {
  v1::TokenLogprob message;
  message.set_id(logprob.id);
  message.set_token(logprob.bytes);
  message.set_logprob(logprob.logprob);
  return message;
}

void AppendLogprobs(const Chunk& chunk,
                    google::protobuf::RepeatedPtrField<v1::TokenLogprobs>* target) {
  for (size_t i = 0; i < chunk.logprobs.size(); ++i) {
    v1::TokenLogprobs* entry = target->Add();
    *entry->mutable_chosen() = ToProto(chunk.logprobs[i]);
    if (i >= chunk.top_logprobs.size()) continue;
    for (const TokenLogprob& top : chunk.top_logprobs[i]) *entry->add_top() = ToProto(top);
  }
}

}  // namespace tessera
