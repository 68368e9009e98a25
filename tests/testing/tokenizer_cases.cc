#include "tests/testing/tokenizer_cases.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <zlib.h>

#include <cstdint>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "engine/prompt/prompt.h"
#include "engine/tokenizer/detokenizer.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/testing/temporary_directory.h"

namespace tessera::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Ids = std::vector<int32_t>;

std::string ReadGzip(const fs::path& path) {
  std::string text;
  const std::unique_ptr<gzFile_s, decltype(&gzclose)> file(gzopen(path.c_str(), "rb"), &gzclose);
  char buffer[1 << 16];
  while (file != nullptr) {
    const int count = gzread(file.get(), buffer, sizeof(buffer));
    if (count <= 0) break;
    text.append(buffer, static_cast<size_t>(count));
  }
  return text;
}

// Links all vocabulary files into `to`, unpacked.
void Unpack(const fs::path& from, const fs::path& to) {
  for (const auto& file : fs::directory_iterator(from)) {
    const fs::path name = file.path().filename();
    if (name.string().find(".jsonl") != std::string::npos) continue;
    if (name.extension() == ".gz") {
      std::ofstream(to / name.stem(), std::ios::binary) << ReadGzip(file.path());
    } else if (file.is_regular_file()) {
      fs::create_symlink(fs::absolute(file.path()), to / name);
    }
  }
}

class Cases {
 public:
  explicit Cases(const fs::path& folder) : folder_(folder) {}

  TokenizerCasesResult Run();

 private:
  void CheckMeta();
  void CheckEncoding(const json& line, const std::string& place, SpecialTokens special);
  void CheckPrompt(const json& line, const std::string& place);
  void CheckDecoding(const Ids& ids, const std::string& text, const std::string& place);
  void ForEachLine(const char* name,
                   const std::function<void(const json&, const std::string&)>& check);

  template <typename T>
  void Expect(const T& expected, const T& actual, const std::string& place) {
    if (expected == actual) {
      ++result_.passed;
    } else {
      result_.failures.push_back(fmt::format("{}: expected {}, got {}", place,
                                             json(expected).dump(), json(actual).dump()));
    }
  }

  fs::path folder_;
  json meta_;
  std::unique_ptr<Tokenizer> tokenizer_;
  TokenizerCasesResult result_;
};

void Cases::ForEachLine(const char* name,
                        const std::function<void(const json&, const std::string&)>& check) {
  std::istringstream lines(ReadGzip(folder_ / name));
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    check(json::parse(line), fmt::format("{}:{}", (folder_ / name).string(), number));
  }
}

void Cases::CheckMeta() {
  const std::string place = (folder_ / "meta.json").string();
  Expect(meta_.at("size").get<int32_t>(), tokenizer_->vocabulary(), place + ": size");
  Expect(meta_.at("bos_added").get<bool>(), tokenizer_->adds_bos(), place + ": bos_added");
  const json& ids = meta_.at("special_ids");
  const auto check = [&](const char* name, std::optional<int32_t> id) {
    Expect(ids.at(name), id.has_value() ? json(*id) : json(), fmt::format("{}: {}", place, name));
  };
  check("bos", tokenizer_->bos());
  check("eos", tokenizer_->eos());
  check("unk", tokenizer_->unk());
  check("pad", tokenizer_->pad());
}

void Cases::CheckEncoding(const json& line, const std::string& place, SpecialTokens special) {
  Ids ids = tokenizer_->Encode(line.at("text").get<std::string>(), special);
  if (tokenizer_->adds_bos()) ids.insert(ids.begin(), tokenizer_->bos().value());
  Expect(line.at("ids").get<Ids>(), ids, fmt::format("{} {}", place, line.at("text").dump()));
}

void Cases::CheckPrompt(const json& line, const std::string& place) {
  const auto prompt = SplitRawPrompt(line.at("prompt").get<std::string>(), SpecialTokens::kParse);
  const Ids ids = prompt.ok() ? EncodePrompt(*tokenizer_, *prompt) : Ids();
  Expect(line.at("ids").get<Ids>(), ids, fmt::format("{} {}", place, line.at("prompt").dump()));
}

void Cases::CheckDecoding(const Ids& ids, const std::string& text, const std::string& place) {
  Expect(text, tokenizer_->Decode(ids, /*skip_special=*/true), place + " decoded");
  Detokenizer detokenizer(*tokenizer_, /*skip_special=*/true);
  std::string streamed;
  for (const int32_t id : ids) streamed += detokenizer.Push(id);
  streamed += detokenizer.Finish();
  Expect(text, streamed, place + " streamed");
}

TokenizerCasesResult Cases::Run() {
  std::ifstream meta_file(folder_ / "meta.json");
  meta_ = json::parse(meta_file, nullptr, /*allow_exceptions=*/false);
  if (meta_.is_discarded()) {
    result_.failures.push_back((folder_ / "meta.json").string() + ": cannot be read");
    return result_;
  }
  const TemporaryDirectory unpacked;
  Unpack(folder_, unpacked.path());
  auto tokenizer = Tokenizer::Load(unpacked.path());
  if (!tokenizer.ok()) {
    result_.failures.push_back(
        fmt::format("{}: {}", folder_.string(), tokenizer.status().ToString()));
    return result_;
  }
  tokenizer_ = std::move(*tokenizer);
  CheckMeta();
  const bool parse = meta_.at("special_strings_parsed").get<bool>();
  // Where the library cleans spaces up, `exact` is what the model wrote, and `decoded` is not
  // comparable.
  const bool cleaned = meta_.at("decode").get<std::string>().find("'exact'") != std::string::npos;
  ForEachLine("expected.jsonl.gz", [&](const json& line, const std::string& place) {
    CheckEncoding(line, place, parse ? SpecialTokens::kParse : SpecialTokens::kNone);
    if (cleaned || !line.at("decoded").is_string()) return;
    CheckDecoding(line.at("ids").get<Ids>(), line.at("decoded").get<std::string>(), place);
  });
  ForEachLine("expected_plain.jsonl.gz", [&](const json& line, const std::string& place) {
    CheckEncoding(line, place, SpecialTokens::kNone);
  });
  ForEachLine("expected_prompts.jsonl.gz",
              [&](const json& line, const std::string& place) { CheckPrompt(line, place); });
  ForEachLine("expected_decode.jsonl.gz", [&](const json& line, const std::string& place) {
    const json& text = line.at(line.contains("exact") ? "exact" : "text");
    if (text.is_string()) CheckDecoding(line.at("ids").get<Ids>(), text.get<std::string>(), place);
  });
  return result_;
}

}  // namespace

TokenizerCasesResult RunTokenizerCases(const fs::path& folder) { return Cases(folder).Run(); }

}  // namespace tessera::testing
