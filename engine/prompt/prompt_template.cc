#include "engine/prompt/prompt_template.h"

#include "engine/base/check.h"

namespace tessera {
namespace {

constexpr std::string_view kCuriousUser =
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions.";
constexpr std::string_view kCuriousHuman =
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions.";

// LLaVA's style "two": one separator is a space, the other ends the assistant's turn and touches
// the next "USER:".
constexpr PromptTemplate TwoSeparators(std::string_view name, std::string_view system,
                                       std::string_view end_of_turn) {
  return {
      .name = name,
      .system = system,
      .before_system = "",
      .after_system = " ",
      .user = {.before = "USER: ", .after = " ", .empty = "USER:"},
      .assistant = {.before = "ASSISTANT: ", .after = end_of_turn, .empty = "ASSISTANT:"},
      .open_answer = "ASSISTANT:",
      .before_image = "",
      .after_image = "",
  };
}

constexpr PromptTemplate kLlavaHfTemplate = {
    .name = "llava_hf",
    .system = "",
    .before_system = "",
    .after_system = "",
    .user = {.before = "USER: ", .after = "", .empty = ""},
    .assistant = {.before = "ASSISTANT: ", .after = "", .empty = ""},
    .open_answer = "ASSISTANT:",
    .before_image = "",
    .after_image = "\n",
    .after_text = " ",
    .images_first = true,
};

constexpr PromptTemplate kQwen3VlTemplate = {
    .name = "chatml",
    .system = "",
    .before_system = "<|im_start|>system\n",
    .after_system = "<|im_end|>\n",
    .user = {.before = "<|im_start|>user\n",
             .after = "<|im_end|>\n",
             .empty = "<|im_start|>user\n<|im_end|>\n"},
    .assistant = {.before = "<|im_start|>assistant\n",
                  .after = "<|im_end|>\n",
                  .empty = "<|im_start|>assistant\n<|im_end|>\n"},
    .open_answer = "<|im_start|>assistant\n",
    .before_image = "<|vision_start|>",
    .after_image = "<|vision_end|>",
};

// Beside the prompt's format, LLaVA-MoLE's own limit: the context of 4096 less room for an answer.
constexpr PromptTemplate kLlavaMoleTemplate = {
    .name = "llava_mole",
    .system = kCuriousUser,
    .before_system = "",
    .after_system = " ",
    .user = {.before = "USER: ", .after = " ", .empty = "USER: "},
    .assistant = {.before = "ASSISTANT: ", .after = "</s> ", .empty = "ASSISTANT: "},
    .open_answer = "ASSISTANT: ",
    .before_image = "",
    .after_image = "",
    .image_break = "\n",
    .one_image = true,
    .added_tokens = false,
    .max_ids = 4096 - 1024 - 8,
};

struct Row {
  PromptFormat format;
  PromptTemplate text;
};

constexpr Row kRows[] = {
    {PromptFormat::kPhi, TwoSeparators("phi", kCuriousUser, "<|endoftext|>")},
    {PromptFormat::kQwen, TwoSeparators("qwen", kCuriousUser, "<|endoftext|>")},
    {PromptFormat::kStableLm, TwoSeparators("stablelm", kCuriousUser, "<|endoftext|>")},
    {PromptFormat::kOpenChat, TwoSeparators("openchat", kCuriousUser, "<|end_of_turn|>")},
    {PromptFormat::kMistral, TwoSeparators("mistral", kCuriousUser, "</s>")},
    {PromptFormat::kMiniCpm, TwoSeparators("minicpm", kCuriousUser, "</s>")},
    {PromptFormat::kVicunaV1, TwoSeparators("vicuna_v1", kCuriousUser, "</s>")},
    {PromptFormat::kLlavaV1, TwoSeparators("llava_v1", kCuriousHuman, "</s>")},
    {PromptFormat::kLlavaHf, kLlavaHfTemplate},
    {PromptFormat::kQwen3Vl, kQwen3VlTemplate},
    {PromptFormat::kLlavaMole, kLlavaMoleTemplate},
};

}  // namespace

const PromptTemplate& TemplateOf(PromptFormat format) {
  const Row* found = nullptr;
  for (const Row& row : kRows) {
    if (row.format == format) found = &row;
  }
  TESSERA_CHECK(found != nullptr);
  return found->text;
}

std::optional<PromptFormat> FindPromptFormat(std::string_view name) {
  if (name == "v1") return PromptFormat::kVicunaV1;
  for (const Row& row : kRows) {
    if (row.text.name == name) return row.format;
  }
  return {};
}

}  // namespace tessera
