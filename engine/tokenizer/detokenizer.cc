#include "engine/tokenizer/detokenizer.h"

#include <cstddef>
#include <utility>

#include "engine/base/utf8.h"

namespace tessera {

std::string Detokenizer::Push(int32_t id) {
  std::string text;
  std::string_view token = tokenizer_->TokenBytes(id);
  const TokenKind kind = tokenizer_->Kind(id);
  if (skip_special_ && tokenizer_->IsSpecial(id)) {
    if (kind != TokenKind::kMark) return text;
    EndBytes(&text);
    first_token_ = false;
    return Strip(std::move(text));
  }
  if (kind == TokenKind::kBytes) {
    PushBytes(token, &text);
  } else {
    EndBytes(&text);
    if (kind == TokenKind::kText) token = WithoutLeadingSpaces(token);
    text += token;
    if (first_token_ && tokenizer_->joining().first_token == TokenJoining::Leading::kAllLost) {
      std::erase(text, ' ');
    }
  }
  nothing_written_ = nothing_written_ && token.empty();
  first_token_ = false;
  if (kind == TokenKind::kAdded && tokenizer_->joining().added_tokens_end_runs) {
    first_token_ = may_lose_space_ = nothing_written_ = true;
  }
  return Strip(std::move(text));
}

std::string Detokenizer::Finish() {
  std::string text;
  EndBytes(&text);
  return Strip(std::move(text));
}

void Detokenizer::PushBytes(std::string_view bytes, std::string* text) {
  pending_.append(bytes);
  const BrokenBytes broken = tokenizer_->joining().broken_bytes;
  if (broken == BrokenBytes::kPerRun) return;
  const Repair repair = broken == BrokenBytes::kPerPart ? Repair::kPerPart : Repair::kPerByte;
  pending_.erase(0, AppendRepairedUtf8(pending_, text, repair));
}

// No character reaches across the end of a run of bytes.
void Detokenizer::EndBytes(std::string* text) {
  const BrokenBytes broken = tokenizer_->joining().broken_bytes;
  if (broken == BrokenBytes::kPerRun && ValidateUtf8(pending_).ok()) {
    text->append(pending_);
  } else if (!pending_.empty()) {
    const size_t marks = broken == BrokenBytes::kPerPart ? 1 : pending_.size();
    for (size_t i = 0; i < marks; ++i) text->append(kReplacementCharacter);
  }
  pending_.clear();
}

std::string_view Detokenizer::WithoutLeadingSpaces(std::string_view token) {
  using Leading = TokenJoining::Leading;
  const TokenJoining& joining = tokenizer_->joining();
  const auto lose_space = [&] {
    const bool has_one = !token.empty() && token.front() == ' ';
    if (has_one) token.remove_prefix(1);
    return has_one;
  };
  if (first_token_ && joining.first_token == Leading::kOneLost) lose_space();
  if (joining.run != Leading::kKept && may_lose_space_ && nothing_written_ && lose_space()) {
    may_lose_space_ = joining.run == Leading::kAllLost;
  }
  return token;
}

std::string Detokenizer::Strip(std::string text) {
  size_t spaces = 0;
  while (spaces_to_strip_ > 0 && spaces < text.size() && text[spaces] == ' ') {
    ++spaces;
    --spaces_to_strip_;
  }
  text.erase(0, spaces);
  if (!text.empty()) spaces_to_strip_ = 0;
  return text;
}

}  // namespace tessera
