// The template in a checkpoint that says how conversations become prompts. Templates (Jinja) are
// not run: prompts are written in the format of the model's family (PromptFormat). So a template is
// compared with those known to write just that, by the SHA-256 of its text, since every other text
// may write anything; whoever brings another is told that it is not used.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/prompt/prompt_template.h"

namespace tessera {

// A warning for each place in `directory` from which transformers takes the template of plain
// conversations (chat_template.jinja, "chat_template" of chat_template.json, processor_config.json
// and tokenizer_config.json) and which holds one that is not the family's own. Families whose own
// code writes prompts without templates (LLaVA's and its kin) ignore what a base model left in
// tokenizer_config.json, and so does this.
std::vector<std::string> CheckChatTemplates(const std::filesystem::path& directory,
                                            PromptFormat format);

}  // namespace tessera
