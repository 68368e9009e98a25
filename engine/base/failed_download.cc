#include "engine/base/failed_download.h"

#include <fmt/format.h>

#include <algorithm>

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
constexpr size_t kPageBeginning = 1024;  // where a page says that it is one

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

// The first characters in lower case, without what may stand before markup.
std::string Beginning(std::string_view bytes) {
  if (bytes.starts_with("\xef\xbb\xbf"sv)) bytes.remove_prefix(3);
  std::string text(bytes.substr(0, kPageBeginning));  // no more of a large file is touched
  text.erase(0, std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

}  // namespace

std::string FailedDownload(std::string_view bytes) {
  if (bytes.empty()) return "is empty; its download failed: fetch it again";
  if (IsPointer(bytes)) {
    const std::string_view size = PointerSize(bytes);
    return fmt::format(
        "is a git-lfs pointer: the file itself{} was not downloaded; fetch it with git lfs pull",
        size.empty() ? "" : fmt::format(" ({} bytes)", size));
  }
  const std::string beginning = Beginning(bytes);
  if (!beginning.starts_with('<')) return "";
  const bool html = beginning.find("<html") != std::string::npos ||
                    beginning.find("<!doctype html") != std::string::npos ||
                    beginning.find("<head") != std::string::npos;
  if (html || beginning.starts_with("<?xml")) {
    return fmt::format(
        "is an {} page where a file of the model belongs; its download failed: fetch it again",
        html ? "HTML" : "XML");
  }
  return "";
}

}  // namespace tessera
