#include "server/mime_type.h"

#include <algorithm>

namespace tessera {
namespace {

struct Name {
  std::string_view name;
  std::string_view type;
};
constexpr Name kNames[] = {
    {"image/jpeg", "image/jpeg"},
    {"image/jpg", "image/jpeg"},
    {"image/pjpeg", "image/jpeg"},  // progressive ones, in old browsers
    {"image/png", "image/png"},
    {"image/x-png", "image/png"},
    {"image/webp", "image/webp"},
    {"application/octet-stream", ""},
    {"binary/octet-stream", ""},  // S3's default
    {"", ""},
};

}  // namespace

std::optional<std::string> ImageType(std::string_view mime_type) {
  mime_type = mime_type.substr(0, mime_type.find(';'));
  std::string name;
  for (const char c : mime_type) {
    name += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  constexpr const char* kBlanks = " \t";
  name.erase(0, std::min(name.find_first_not_of(kBlanks), name.size()));
  name.erase(name.find_last_not_of(kBlanks) + 1);
  const auto* found = std::find_if(std::begin(kNames), std::end(kNames),
                                   [&](const Name& known) { return known.name == name; });
  if (found == std::end(kNames)) return std::nullopt;
  return std::string(found->type);
}

}  // namespace tessera
