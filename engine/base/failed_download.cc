#include "engine/base/failed_download.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/base/escape_text.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

using std::string_view_literals::operator""sv;

// Pointers are shorter than 1024 bytes, and their first key is the version (git-lfs, docs/spec.md).
constexpr size_t kMaxPointerBytes = 1024;
constexpr std::string_view kPointerBeginnings[] = {
    "version https://git-lfs.github.com/spec/",
    "version https://hawser.github.com/spec/",
    "version http://git-media.io/",
};
constexpr size_t kPageBeginning = 1024;   // where a page says that it is one
constexpr size_t kMaxBlankBytes = 65536;  // before it, and of a file that holds nothing else
constexpr size_t kMaxAnswerBytes = 4096;
constexpr size_t kMaxShownBytes = 80;
constexpr std::string_view kBlanks = " \t\r\n"sv;

constexpr std::string_view kHtmlMarks[] = {"<html", "<!doctype html", "<head", "<body", "<title"};

// How servers begin to say why there is no file, in lower case.
constexpr std::string_view kAnswers[] = {
    "entry not found",
    "repository not found",
    "revision not found",
    "not found",
    "file not found",
    "404",
    "403 ",
    "401 ",
    "429 ",
    "500 ",
    "502 ",
    "503 ",
    "504 ",
    "access denied",
    "access to model",
    "access to this",
    "cannot access",
    "unauthorized",
    "forbidden",
    "invalid username or password",
    "bad gateway",
    "gateway time",
    "service unavailable",
    "internal server error",
    "too many requests",
    "rate limit",
    "error:",
};

struct Compressed {
  std::string_view beginning;
  std::string_view name;
};
constexpr Compressed kCompressed[] = {
    {"\x1f\x8b\x08"sv, "gzip"}, {"\x28\xb5\x2f\xfd"sv, "Zstandard"}, {"\xfd\x37zXZ\0"sv, "xz"},
    {"BZh"sv, "bzip2"},         {"7z\xbc\xaf\x27\x1c"sv, "7-Zip"},
};

// The line "size N" of a pointer; empty where it has none.
std::string_view PointerSize(std::string_view pointer) {
  constexpr std::string_view kKey = "\nsize ";
  const size_t at = pointer.find(kKey);
  if (at == std::string_view::npos) return "";
  const std::string_view digits = pointer.substr(at + kKey.size());
  return digits.substr(0, digits.find_first_not_of("0123456789"));
}

bool IsPointer(std::string_view bytes) {
  return bytes.size() <= kMaxPointerBytes &&
         std::any_of(std::begin(kPointerBeginnings), std::end(kPointerBeginnings),
                     [&](std::string_view text) { return bytes.starts_with(text); });
}

std::string_view WithoutByteOrderMark(std::string_view bytes) {
  if (bytes.starts_with("\xef\xbb\xbf"sv)) bytes.remove_prefix(3);
  return bytes;
}

// What follows blanks; no more of a large file is touched.
std::string_view BehindBlanks(std::string_view bytes) {
  const std::string_view first = bytes.substr(0, kMaxBlankBytes);
  return bytes.substr(std::min(first.find_first_not_of(kBlanks), first.size()));
}

std::string Lower(std::string_view bytes) {
  std::string text(bytes);
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// "HTML" or "XML"; empty for what is no page.
std::string_view PageKind(std::string_view text) {
  if (!text.starts_with('<')) return "";
  const std::string beginning = Lower(text.substr(0, kPageBeginning));
  const bool html = std::any_of(std::begin(kHtmlMarks), std::end(kHtmlMarks), [&](auto mark) {
    return beginning.find(mark) != std::string::npos;
  });
  if (html) return "HTML";
  return beginning.starts_with("<?xml") || beginning.starts_with("<error>") ? "XML" : "";
}

// The error that an object tells, as web interfaces answer; empty for other objects.
std::string ErrorObject(std::string_view text) {
  constexpr size_t kMaxKeys = 8;
  if (!text.starts_with('{') || std::count(text.begin(), text.end(), '[') > 100 ||
      std::count(text.begin(), text.end(), '{') > 100) {
    return "";
  }
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.size() > kMaxKeys) return "";
  for (const char* key : {"error", "message", "detail", "errors"}) {
    const auto found = json.find(key);
    if (found == json.end()) continue;
    const bool tells = found->is_structured() || (found->is_string() && key != "errors"sv);
    if (tells) return found->dump();
  }
  return "";
}

// What a server said instead of sending a file, for an error; empty for files.
std::string ServersAnswer(std::string_view text) {
  if (text.size() > kMaxAnswerBytes) return "";
  if (std::string error = ErrorObject(text); !error.empty()) return error;
  const std::string_view line = text.substr(0, text.find_first_of("\r\n"));
  const std::string lower = Lower(line);
  const bool answer = std::any_of(std::begin(kAnswers), std::end(kAnswers),
                                  [&](auto beginning) { return lower.starts_with(beginning); });
  return std::string(answer ? line : "");
}

// The name of what a file was packed with. A safetensors file, which any byte may begin, has a
// brace behind its first eight.
std::string_view CompressedKind(std::string_view bytes) {
  if (bytes.size() > 8 && bytes[8] == '{') return "";
  for (const Compressed& kind : kCompressed) {
    if (bytes.starts_with(kind.beginning)) return kind.name;
  }
  return "";
}

// The beginning of the first line, in quotes.
std::string Shown(std::string_view text) {
  text = text.substr(0, text.find_first_of("\r\n"));
  return QuoteText(text.substr(0, kMaxShownBytes)) + (text.size() > kMaxShownBytes ? "…" : "");
}

}  // namespace

std::string FailedDownload(std::string_view bytes) {
  if (bytes.empty()) return "is empty; its download failed: fetch it again";
  if (bytes.substr(0, kMaxShownBytes).find_first_not_of('\0') == std::string_view::npos) {
    return "begins with zeros where its content belongs; its download failed: fetch it again";
  }
  if (const std::string_view kind = CompressedKind(bytes); !kind.empty()) {
    return fmt::format("is compressed ({}) where the file itself belongs; unpack it", kind);
  }
  const std::string_view text = BehindBlanks(WithoutByteOrderMark(bytes));
  if (text.empty()) return "is blank; its download failed: fetch it again";
  if (IsPointer(text)) {
    const std::string_view size = PointerSize(text);
    return fmt::format(
        "is a git-lfs pointer: the file itself{} was not downloaded; fetch it with git lfs pull",
        size.empty() ? "" : fmt::format(" ({} bytes)", size));
  }
  if (const std::string_view kind = PageKind(text); !kind.empty()) {
    return fmt::format(
        "is an {} page where a file of the model belongs; its download failed: fetch it again",
        kind);
  }
  if (const std::string answer = ServersAnswer(text); !answer.empty()) {
    return fmt::format(
        "is a server's answer, {}, where a file of the model belongs; its download "
        "failed: fetch it again",
        Shown(answer));
  }
  return "";
}

std::string ContentInstead(std::string_view bytes) {
  if (bytes.starts_with("PK\x03\x04"sv)) return "; it is a zip archive";
  const std::string_view text = BehindBlanks(WithoutByteOrderMark(bytes)).substr(0, kMaxShownBytes);
  const auto letter = [](char c) { return c >= ' ' && c <= '~'; };
  const std::string_view line = text.substr(0, text.find_first_of("\r\n"));
  if (line.empty() || !std::all_of(line.begin(), line.end(), letter)) return "";
  return fmt::format("; it begins with the text {}: was it downloaded?", Shown(text));
}

absl::Status RefusedFile(const absl::Status& why, const std::filesystem::path& path,
                         std::string_view bytes) {
  const absl::Status annotated = Annotate(why, path.string());
  return {annotated.code(), std::string(StatusMessage(annotated)) + ContentInstead(bytes)};
}

}  // namespace tessera
