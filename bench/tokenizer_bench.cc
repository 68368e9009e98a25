// How fast tokenizers encode, on one thread: a text in prompts of about 4 kB and as a whole, and a
// megabyte of one letter, which is one word. CPU seconds of the fastest of several turns, so that
// what else the machine does counts little.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/tokenizer_files.h"

namespace tessera {
namespace {

constexpr size_t kPromptBytes = 4000;
constexpr size_t kLetters = 1'000'000;
constexpr int kTurns = 5;

// The lines of `text` in groups that reach kPromptBytes.
std::vector<std::string_view> Prompts(std::string_view text) {
  std::vector<std::string_view> prompts;
  while (!text.empty()) {
    const size_t line_end = text.find('\n', std::min(kPromptBytes, text.size()));
    const size_t size = line_end == std::string_view::npos ? text.size() : line_end + 1;
    prompts.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return prompts;
}

struct Speed {
  double seconds = std::numeric_limits<double>::infinity();
  size_t ids = 0;
};

Speed Measure(const Tokenizer& tokenizer, const std::vector<std::string_view>& texts) {
  Speed fastest;
  for (int turn = 0; turn < kTurns; ++turn) {
    size_t ids = 0;
    const std::clock_t begin = std::clock();
    for (const std::string_view text : texts) {
      ids += tokenizer.Encode(text, SpecialTokens::kText).size();
    }
    const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    fastest = {std::min(fastest.seconds, seconds), ids};
  }
  return fastest;
}

absl::Status Run(const std::filesystem::path& text_path,
                 const std::vector<std::filesystem::path>& directories) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(text_path));
  RETURN_IF_ERROR(Annotate(ValidateUtf8(text), text_path.string()));
  const std::string letters(kLetters, 'a');
  const double megabytes = static_cast<double>(text.size()) / 1e6;
  fmt::print("{:.1f} MB of text\n{:<24}{:>14}{:>14}{:>14}{:>20}\n", megabytes, "", "bytes per id",
             "prompts MB/s", "whole MB/s", "one letter s per MB");
  for (const auto& directory : directories) {
    ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(directory));
    const Speed prompts = Measure(*tokenizer, Prompts(text));
    const Speed whole = Measure(*tokenizer, {text});
    const Speed word = Measure(*tokenizer, {letters});
    fmt::print("{:<24}{:>14.2f}{:>14.1f}{:>14.1f}{:>20.3f}\n", directory.filename().string(),
               static_cast<double>(text.size()) / static_cast<double>(whole.ids),
               megabytes / prompts.seconds, megabytes / whole.seconds,
               word.seconds * 1e6 / kLetters);
    std::fflush(stdout);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: tokenizer_bench TEXT DIR...\n");
    return 2;
  }
  const absl::Status done = tessera::Run(argv[1], {argv + 2, argv + argc});
  if (done.ok()) return 0;
  std::fprintf(stderr, "%s\n", done.ToString().c_str());
  return 1;
}
