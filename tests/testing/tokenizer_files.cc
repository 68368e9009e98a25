#include "tests/testing/tokenizer_files.h"

#include <cstdint>
#include <fstream>
#include <utility>

#include "engine/tokenizer/byte_alphabet.h"
#include "engine/tokenizer/pretokenizer.h"

namespace tessera::testing {

using nlohmann::json;

TokenizerFiles TokenizerFiles::Make(const std::string& tokenizer_class,
                                    std::vector<std::string> merges) {
  TokenizerFiles files;
  for (int byte = 0; byte < 256; ++byte) files.vocab[SpellByte(static_cast<uint8_t>(byte))] = byte;
  for (const std::string& merge : merges) {
    std::string merged = merge;
    merged.erase(merged.find(' '), 1);
    const auto next = static_cast<int>(files.vocab.size());
    files.vocab.emplace(merged, next);
  }
  files.merges = std::move(merges);
  files.config = {{"tokenizer_class", tokenizer_class}, {"added_tokens_decoder", json::object()}};
  return files;
}

void TokenizerFiles::AddToken(const std::string& content, bool special) {
  json& added = config["added_tokens_decoder"];
  const size_t id =
      vocab.contains(content) ? vocab[content].get<size_t>() : vocab.size() + added.size();
  added[std::to_string(id)] = {
      {"content", content}, {"special", special}, {"normalized", !special}};
}

void TokenizerFiles::WriteSlow(const std::filesystem::path& directory) const {
  std::string lines = "#version: 0.2\n";
  for (const std::string& merge : merges) lines += merge + "\n";
  WriteFile(directory / "vocab.json", vocab.dump());
  WriteFile(directory / "merges.txt", lines);
  WriteFile(directory / "tokenizer_config.json", config.dump());
}

json TokenizerFiles::Fast() const {
  const bool qwen = config["tokenizer_class"] == "Qwen2Tokenizer";
  json added = json::array();
  for (const auto& [id, token] : config["added_tokens_decoder"].items()) {
    added.push_back(token);
    added.back()["id"] = std::stoi(id);
  }
  const json split = {{"type", "Split"},
                      {"pattern", {{"Regex", std::string(qwen ? kQwenPattern : kGpt2Pattern)}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return {{"added_tokens", added},
          {"normalizer", qwen ? json{{"type", "NFC"}} : json()},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

void WriteFile(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace tessera::testing
