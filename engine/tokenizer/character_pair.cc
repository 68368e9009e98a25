#include "engine/tokenizer/character_pair.h"

#include "absl/strings/string_view.h"
#include "engine/base/utf8.h"

namespace tessera {
namespace {

constexpr int32_t kNoSymbol = -1;  // a character that is in no token; merges with none

uint64_t JointKey(char32_t first, char32_t second) {
  return static_cast<uint64_t>(first) << 32 | second;
}

char32_t LastCharacter(std::string_view text) {
  size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return NextUtf8Part(text.substr(begin)).code_point;
}

}  // namespace

void CharacterVocabulary::AddMerge(std::pair<std::string_view, int32_t> left,
                                   std::pair<std::string_view, int32_t> right, Merge merge) {
  merges.AddAtRank(merge.rank, left.second, right.second, merge.merged);
  joints.insert(JointKey(LastCharacter(left.first), NextUtf8Part(right.first).code_point));
}

struct CharacterPairs::Scratch {
  std::vector<Symbol> symbols;
  std::vector<uint64_t> queue;
};

void CharacterPairs::WriteSymbol(int32_t symbol, std::string_view text, TokenWriter* writer) const {
  if (symbol != kNoSymbol && symbol < vocabulary_.tokens) {
    writer->Add(symbol);
  } else {
    writer->AddUnknown(text);
  }
}

void CharacterPairs::WriteWord(std::string_view word, Scratch* scratch, TokenWriter* writer) const {
  std::vector<Symbol>& symbols = scratch->symbols;
  if (symbols.empty()) return;
  vocabulary_.merges.Apply(&symbols, &scratch->queue);
  for (int32_t at = 0; at >= 0; at = symbols[at].next) {
    const Symbol& symbol = symbols[at];
    const size_t end = symbol.next < 0 ? word.size() : symbols[symbol.next].begin;
    std::string_view text = word.substr(symbol.begin, end - symbol.begin);
    const auto unused = vocabulary_.unused.find(symbol.id);
    if (unused == vocabulary_.unused.end()) {
      WriteSymbol(symbol.id, text, writer);
      continue;
    }
    for (const CharacterVocabulary::Part& part : unused->second) {
      WriteSymbol(part.symbol, text.substr(0, part.bytes), writer);
      text.remove_prefix(part.bytes);
    }
  }
  symbols.clear();
}

void CharacterPairs::Append(std::string_view text, std::vector<int32_t>* ids) const {
  TokenWriter writer(vocabulary_.unknown, ids);
  const auto whole = vocabulary_.whole_texts.find(absl::string_view(text.data(), text.size()));
  if (whole != vocabulary_.whole_texts.end()) return writer.Add(whole->second);
  Scratch scratch;
  size_t word = 0;        // where the symbols in `scratch` begin
  char32_t previous = 0;  // the last character of them
  for (size_t at = 0; at < text.size();) {
    if (const auto fixed = vocabulary_.user_defined.Longest(text.substr(at)); fixed.length > 0) {
      WriteWord(text.substr(word, at - word), &scratch, &writer);
      writer.Add(fixed.value);
      word = at += fixed.length;
      continue;
    }
    const Utf8Part character = NextUtf8Part(text.substr(at));
    if (at > word && !vocabulary_.joints.contains(JointKey(previous, character.code_point))) {
      WriteWord(text.substr(word, at - word), &scratch, &writer);
      word = at;
    }
    const auto symbol = vocabulary_.characters.find(character.code_point);
    scratch.symbols.push_back(
        {.id = symbol == vocabulary_.characters.end() ? kNoSymbol : symbol->second,
         .begin = static_cast<uint32_t>(at - word),
         .previous = -1,
         .next = -1,
         .merge = {}});
    previous = character.code_point;
    at += character.length;
  }
  WriteWord(text.substr(word), &scratch, &writer);
}

}  // namespace tessera
