// tokenizer-ids DIR any|slow|fast: reads one JSON object a line from standard input and answers
// each with one.
//   {"text": T, "parse": B}  ->  {"ids": [...]}   parse: control tokens in the text are found; bos
//   and eos as the tokenizer adds them
//   {"ids": [...]}           ->  {"text": T}      control tokens skipped, joined from what a
//   Detokenizer streams
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/tokenizer/detokenizer.h"
#include "engine/tokenizer/tokenizer.h"

namespace tessera {
namespace {

using nlohmann::json;

json Answer(const Tokenizer& tokenizer, const json& line) {
  if (line.contains("ids")) {
    Detokenizer detokenizer(tokenizer, /*skip_special=*/true);
    std::string text;
    for (const auto& id : line["ids"]) text += detokenizer.Push(id.get<int32_t>());
    return {{"text", text + detokenizer.Finish()}};
  }
  const bool parse = line.value("parse", true);
  std::vector<int32_t> ids = tokenizer.Encode(line["text"].get<std::string>(),
                                              parse ? SpecialTokens::kParse : SpecialTokens::kNone);
  if (tokenizer.adds_bos()) ids.insert(ids.begin(), tokenizer.bos().value());
  if (tokenizer.adds_eos()) ids.push_back(tokenizer.eos().value());
  return {{"ids", ids}};
}

int Run(const char* directory, std::string_view which) {
  const auto tokenizer_class = which == "slow"   ? TokenizerClass::kSlow
                               : which == "fast" ? TokenizerClass::kFast
                                                 : TokenizerClass::kAny;
  const auto tokenizer = Tokenizer::Load(directory, tokenizer_class);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << '\n';
    return 1;
  }
  std::string line;
  while (std::getline(std::cin, line)) {
    std::cout << Answer(**tokenizer, json::parse(line)).dump(-1, ' ', /*ensure_ascii=*/true)
              << '\n';
  }
  return 0;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: tokenizer-ids DIR any|slow|fast\n");
    return 2;
  }
  return tessera::Run(argv[1], argv[2]);
}
