#include "engine/prepare/preparer.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/prompt/prompt.h"

namespace tessera {
namespace {

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

struct PlacedText {
  const std::string* text;
  std::string field;
};

std::string PartField(size_t message, size_t part, const char* kind) {
  return fmt::format("conversation.messages[{}].parts[{}].{}", message, part, kind);
}

std::vector<PlacedText> TextsOf(const Input& input) {
  std::vector<PlacedText> texts;
  if (const auto* messages = std::get_if<std::vector<Message>>(&input)) {
    for (size_t m = 0; m < messages->size(); ++m) {
      for (size_t p = 0; p < (*messages)[m].parts.size(); ++p) {
        if (const auto* text = std::get_if<std::string>(&(*messages)[m].parts[p])) {
          texts.push_back({text, PartField(m, p, "text")});
        }
      }
    }
  } else if (const auto* raw = std::get_if<RawPrompt>(&input)) {
    texts.push_back({&raw->text, "raw_prompt.text"});
  }
  return texts;
}

// The field that the prompt's text or ids stand in.
std::string PromptField(const Input& input) {
  if (std::holds_alternative<RawPrompt>(input)) return "raw_prompt.text";
  return std::holds_alternative<TokenPrompt>(input) ? "token_prompt.ids" : "conversation";
}

// The conversation as the prompt builder takes it: images by number.
std::vector<PromptMessage> NumberImages(const std::vector<Message>& messages) {
  std::vector<PromptMessage> numbered;
  int next = 0;
  for (const Message& message : messages) {
    PromptMessage& target = numbered.emplace_back();
    target.role = message.role;
    for (const auto& part : message.parts) {
      if (const auto* text = std::get_if<std::string>(&part)) {
        target.parts.emplace_back(std::in_place_type<std::string>, *text);
      } else {
        target.parts.emplace_back(std::in_place_type<ImageRef>, next++);
      }
    }
  }
  return numbered;
}

}  // namespace

std::vector<PlacedImage> ImagesOf(const Input& input) {
  std::vector<PlacedImage> images;
  const auto add = [&](const std::vector<EncodedImage>& list, const char* field) {
    for (size_t i = 0; i < list.size(); ++i) {
      images.push_back({&list[i], fmt::format("{}.images[{}]", field, i)});
    }
  };
  std::visit(
      Overloaded{[&](const std::vector<Message>& messages) {
                   for (size_t m = 0; m < messages.size(); ++m) {
                     for (size_t p = 0; p < messages[m].parts.size(); ++p) {
                       if (const auto* image = std::get_if<EncodedImage>(&messages[m].parts[p])) {
                         images.push_back({image, PartField(m, p, "image")});
                       }
                     }
                   }
                 },
                 [&](const RawPrompt& raw) { add(raw.images, "raw_prompt"); },
                 [&](const TokenPrompt& tokens) { add(tokens.images, "token_prompt"); }},
      input);
  return images;
}

int64_t InputBytes(const Input& input) {
  size_t bytes = 0;
  for (const PlacedText& text : TextsOf(input)) bytes += text.text->size();
  for (const PlacedImage& image : ImagesOf(input)) bytes += image.image->bytes.size();
  if (const auto* tokens = std::get_if<TokenPrompt>(&input))
    bytes += tokens->ids.size() * sizeof(int32_t);
  return static_cast<int64_t>(bytes);
}

Preparer::Preparer(const Tokenizer& tokenizer, PromptFormat format, const ImageFormat& images,
                   const InputLimits& limits)
    : tokenizer_(tokenizer),
      format_(format),
      images_(images, limits.image, limits.max_image_tokens),
      limits_(limits) {
  size_t longest = 1;
  for (int32_t id = 0; id < tokenizer.vocabulary(); ++id) {
    longest = std::max(longest, tokenizer.TokenBytes(id).size());
  }
  max_text_bytes_ = static_cast<int64_t>(longest) * limits.max_context;
}

absl::Status Preparer::Check(const Request& request) const {
  const std::vector<PlacedImage> images = ImagesOf(request.input);
  if (!images.empty() && !images_.format().taken) {
    return RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kModalityNotSupported,
                        images[0].field, "this model takes no images");
  }
  if (static_cast<int64_t>(images.size()) > limits_.max_images) {
    return RequestError(
        absl::StatusCode::kInvalidArgument, ErrorReason::kTooManyImages,
        images[static_cast<size_t>(limits_.max_images)].field,
        fmt::format("{} images, at most {} are taken", images.size(), limits_.max_images));
  }
  if (TemplateOf(format_).one_image && images.size() != 1) {
    return InvalidField(
        images.empty() ? "input" : images[1].field,
        fmt::format("this model answers about one image, there are {}", images.size()));
  }
  int64_t bytes = 0;
  for (const PlacedText& text : TextsOf(request.input)) {
    RETURN_IF_ERROR(AtField(ValidateUtf8(*text.text), text.field, ErrorReason::kInvalidParameter));
    bytes += static_cast<int64_t>(text.text->size());
    if (bytes > max_text_bytes_) {
      return RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kContextLengthExceeded,
                          text.field,
                          fmt::format("{} bytes of text cannot fit into a context of {} tokens",
                                      bytes, limits_.max_context));
    }
  }
  if (const auto* tokens = std::get_if<TokenPrompt>(&request.input)) return CheckTokenIds(*tokens);
  if (const auto* messages = std::get_if<std::vector<Message>>(&request.input)) {
    if (messages->empty())
      return InvalidField("conversation.messages", "at least one message is needed");
  }
  return absl::OkStatus();
}

absl::Status Preparer::CheckTokenIds(const TokenPrompt& prompt) const {
  if (prompt.ids.empty()) return InvalidField("token_prompt.ids", "at least one id is needed");
  if (static_cast<int64_t>(prompt.ids.size()) > limits_.max_context) {
    return RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kContextLengthExceeded,
                        "token_prompt.ids",
                        fmt::format("{} ids do not fit into a context of {} tokens",
                                    prompt.ids.size(), limits_.max_context));
  }
  for (size_t i = 0; i < prompt.ids.size(); ++i) {
    const int32_t id = prompt.ids[i];
    if (id != kImagePlaceholder && (id < 0 || id >= tokenizer_.vocabulary())) {
      return InvalidField(
          fmt::format("token_prompt.ids[{}]", i),
          fmt::format("id {} is not in the vocabulary of {}", id, tokenizer_.vocabulary()));
    }
  }
  return absl::OkStatus();
}

// A tokenizer may know tokens that the model has no row for.
absl::Status Preparer::CheckRows(const Request& request, const std::vector<int32_t>& ids) const {
  if (limits_.vocabulary == 0) return absl::OkStatus();
  for (const int32_t id : ids) {
    if (id < limits_.vocabulary) continue;  // kImagePlaceholder, too
    const std::string text(tokenizer_.TokenBytes(id));
    const bool whole = ValidateUtf8(text).ok();
    return InvalidField(
        PromptField(request.input),
        fmt::format("holds token {}{}, for which the model has no row: its "
                    "vocabulary has {}",
                    id, whole ? fmt::format(" (\"{}\")", text) : "", limits_.vocabulary));
  }
  return absl::OkStatus();
}

std::vector<int32_t> Preparer::Encode(const Prompt& prompt) const {
  const PromptTemplate& text = TemplateOf(format_);
  const std::optional<int32_t> token = images_.format().token;
  std::vector<int32_t> ids = token ? EncodeWholePrompt(tokenizer_, prompt, *token)
                                   : EncodePrompt(tokenizer_, prompt, text.added_tokens);
  if (text.max_ids > 0 && ids.size() > text.max_ids) ids.resize(text.max_ids);
  return ids;
}

absl::StatusOr<Preparer::Plans> Preparer::PlanImages(const Request& request) const {
  Plans plans;
  int64_t work = 0;
  for (const PlacedImage& placed : ImagesOf(request.input)) {
    const absl::StatusOr<ImagePlan> plan = images_.Plan(*placed.image, request.max_image_tokens);
    if (!plan.ok()) {
      return AtField(plan.status(), placed.field, ErrorReason::kImageDecodeFailed);
    }
    plans.push_back(*plan);
    work += plan->header.work;
    if (work > limits_.max_work) {
      return RequestError(
          absl::StatusCode::kInvalidArgument, ErrorReason::kImageTooLarge, placed.field,
          fmt::format("decoding the first {} images takes about {:.1f} s, limit {:.1f} s for a "
                      "request; send fewer or smaller ones",
                      plans.size(), static_cast<double>(work) * 1e-9,
                      static_cast<double>(limits_.max_work) * 1e-9));
    }
  }
  return plans;
}

absl::StatusOr<std::vector<int32_t>> Preparer::TokenIds(const Request& request,
                                                        const Plans& plans) const {
  if (const auto* tokens = std::get_if<TokenPrompt>(&request.input)) {
    return WithPlaceholders(*tokens, plans);
  }
  const SpecialTokens special =
      request.parse_special_tokens ? SpecialTokens::kParse : SpecialTokens::kText;
  if (const auto* raw = std::get_if<RawPrompt>(&request.input)) {
    auto prompt = SplitRawPrompt(raw->text, special, TemplateOf(format_).image_break);
    if (!prompt.ok()) {
      return AtField(prompt.status(), "raw_prompt", ErrorReason::kInvalidParameter);
    }
    return Encode(*prompt);
  }
  const auto& messages = std::get<std::vector<Message>>(request.input);
  auto prompt = BuildPrompt(TemplateOf(format_), NumberImages(messages), special);
  if (!prompt.ok()) {
    return AtField(prompt.status(), "conversation", ErrorReason::kInvalidParameter);
  }
  return Encode(*prompt);
}

// Processors that widen prompts write an image's token once for each of its rows, others once for
// the image.
absl::StatusOr<std::vector<int32_t>> Preparer::WithPlaceholders(const TokenPrompt& prompt,
                                                                const Plans& plans) const {
  const std::optional<int32_t> token = images_.format().token;
  if (!token) return prompt.ids;
  const bool once =
      static_cast<size_t>(std::count_if(prompt.ids.begin(), prompt.ids.end(), [&](int32_t id) {
        return id == *token || id == kImagePlaceholder;
      })) == plans.size();
  std::vector<int32_t> ids;
  size_t image = 0;
  for (size_t i = 0; i < prompt.ids.size(); ++i) {
    if (prompt.ids[i] != *token) {
      ids.push_back(prompt.ids[i]);
      if (prompt.ids[i] == kImagePlaceholder) ++image;
      continue;
    }
    ids.push_back(kImagePlaceholder);
    if (once || image >= plans.size()) continue;
    const auto rows = static_cast<size_t>(plans[image++].rows);
    const auto begin = prompt.ids.begin() + static_cast<int64_t>(i);
    const auto end = begin + static_cast<int64_t>(std::min(rows, prompt.ids.size() - i));
    const auto run = static_cast<size_t>(
        std::find_if(begin, end, [&](int32_t id) { return id != *token; }) - begin);
    if (run < rows) {
      return InvalidField(fmt::format("token_prompt.ids[{}]", i),
                          fmt::format("image {} takes {} tokens, here are {} of {}; write the "
                                      "token once for an image, or once for each of its rows",
                                      image - 1, rows, run, *token));
    }
    i += rows - 1;
  }
  return ids;
}

// Rows for ids: one for a token, those of its plan for an image.
PreparedPrompt Preparer::Expand(std::vector<int32_t> ids, const Plans& plans) const {
  PreparedPrompt prompt;
  prompt.ids = std::move(ids);
  const bool spatial = images_.format().native.has_value();
  if (spatial) prompt.positions.emplace();
  for (const int32_t id : prompt.ids) {
    const size_t image = prompt.spans.size();
    if (id != kImagePlaceholder) {
      prompt.rows.push_back(id);
      if (spatial) prompt.positions->AddText(1);
      continue;
    }
    const ImagePlan plan = image < plans.size() ? plans[image] : ImagePlan();
    prompt.spans.push_back(
        {static_cast<int32_t>(prompt.rows.size()), plan.rows, static_cast<int32_t>(image)});
    prompt.rows.insert(prompt.rows.end(), static_cast<size_t>(plan.rows), kImagePlaceholder);
    if (spatial) prompt.positions->AddImage(plan.tokens.rows, plan.tokens.cols);
  }
  return prompt;
}

absl::StatusOr<PromptPlan> Preparer::Plan(const Request& request) const {
  PromptPlan plan;
  ASSIGN_OR_RETURN(plan.images, PlanImages(request));
  ASSIGN_OR_RETURN(std::vector<int32_t> ids, TokenIds(request, plan.images));
  RETURN_IF_ERROR(CheckRows(request, ids));
  plan.prompt = Expand(std::move(ids), plan.images);
  const PreparedPrompt& prompt = plan.prompt;
  if (prompt.spans.size() != plan.images.size()) {
    return InvalidField(std::holds_alternative<RawPrompt>(request.input)     ? "raw_prompt.images"
                        : std::holds_alternative<TokenPrompt>(request.input) ? "token_prompt.images"
                                                                             : "conversation",
                        fmt::format("{} images for {} places in the prompt", plan.images.size(),
                                    prompt.spans.size()));
  }
  if (prompt.rows.empty()) {
    return InvalidField("input", "the prompt has no tokens");
  }
  for (const ImagePlan& image : plan.images) {
    plan.prompt.reduced_images += image.reduced ? 1 : 0;
  }
  return plan;
}

absl::StatusOr<PreparedImage> Preparer::PrepareImage(const Request& request, const PromptPlan& plan,
                                                     size_t index,
                                                     const Cancellation& cancellation) const {
  const ImageFormat& format = images_.format();
  ImageMode mode = request.image_mode.value_or(format.mode);
  if (mode == ImageMode::kCrop) mode = format.processor.unpadded;
  const PlacedImage placed = ImagesOf(request.input).at(index);
  auto image = images_.Prepare(*placed.image, plan.images.at(index), mode, cancellation);
  if (!image.ok() && image.status().code() != absl::StatusCode::kCancelled) {
    return AtField(image.status(), placed.field, ErrorReason::kImageDecodeFailed);
  }
  return image;
}

absl::StatusOr<PreparedPrompt> Preparer::Prepare(const Request& request) const {
  ASSIGN_OR_RETURN(PromptPlan plan, Plan(request));
  for (size_t i = 0; i < plan.images.size(); ++i) {
    ASSIGN_OR_RETURN(PreparedImage image, PrepareImage(request, plan, i, kNeverCancelled));
    plan.prompt.images.push_back(std::make_shared<const PreparedImage>(std::move(image)));
  }
  return std::move(plan.prompt);
}

int64_t PromptPlan::patch_bytes() const {
  int64_t bytes = 0;
  for (const ImagePlan& image : images) bytes += image.patch_bytes;
  return bytes;
}

int64_t PromptPlan::transient_bytes() const {
  int64_t bytes = 0;
  for (const ImagePlan& image : images) bytes = std::max(bytes, image.transient_bytes);
  return bytes;
}

}  // namespace tessera
