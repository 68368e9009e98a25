// Prompt templates: what stands around the messages of a conversation, as each model was trained
// with it. Data only; the strings are those of the conversation templates of LLaVA, MoE-LLaVA
// (conversation.py), LLaVA-MoLE (vicuna_conversation.py), llava-hf (chat_template) and Qwen3-VL.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace tessera {

enum class PromptFormat {
  kPhi,
  kQwen,
  kStableLm,
  kOpenChat,
  kMistral,
  kMiniCpm,
  kVicunaV1,
  kLlavaV1,
  kLlavaHf,
  kQwen3Vl,
  kLlavaMole,
};

struct PromptTemplate {
  // One message of one role.
  struct Turn {
    std::string_view before, after;
    std::string_view empty;  // stands for the whole turn if the message is empty, unless this is
  };

  std::string_view name;
  std::string_view system;         // when the conversation brings no system message of its own
  std::string_view before_system;  // these two are left out where the system text is empty
  std::string_view after_system;
  Turn user, assistant;
  std::string_view open_answer;  // ends the prompt: the model goes on from here
  std::string_view before_image, after_image;
  std::string_view image_break = "";  // behind each "<image>" of the prompt's text; has no tokens
  // A conversation has one image, which stands before the text of its first message; blanks
  // around that text are left out.
  bool one_image = false;
  bool added_tokens = true;  // bos and eos, where the tokenizer adds them to a prompt
  size_t max_ids = 0;  // of a prompt, an image counted as one; what follows is cut. 0: any number
  std::string_view after_text = "";  // after each text of a message
  bool images_first = false;         // a message's images before its texts
};

const PromptTemplate& TemplateOf(PromptFormat format);

// By the template's name or one of LLaVA's aliases, e.g. "phi", "v1".
std::optional<PromptFormat> FindPromptFormat(std::string_view name);

}  // namespace tessera
