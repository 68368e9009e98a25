#include "engine/input/detokenizer.h"

#include "engine/input/utf8.h"

namespace tessera {

std::string Detokenizer::Push(int32_t id) {
  std::string text;
  if (skip_special_ && tokenizer_->IsSpecial(id)) return text;
  pending_.append(tokenizer_->TokenBytes(id));
  pending_.erase(0, AppendRepairedUtf8(pending_, &text));
  return text;
}

std::string Detokenizer::Finish() {
  const bool cut_off = !pending_.empty();
  pending_.clear();
  return cut_off ? std::string(kReplacementCharacter) : std::string();
}

}  // namespace tessera
