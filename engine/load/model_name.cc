#include "engine/load/model_name.h"

#include <string_view>
#include <system_error>

#include "engine/base/escape_text.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

}  // namespace

std::string DefaultModelName(const fs::path& directory) {
  constexpr std::string_view kRepository = "models--";
  constexpr std::string_view kSlash = "--";  // in a folder's name; repositories' names have none
  std::error_code ignored;
  fs::path path = fs::absolute(directory, ignored).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // of a slash at the end
  const std::string own = path.filename().string();
  if (path.parent_path().filename() != "snapshots") return EscapeText(own);
  const std::string folder = path.parent_path().parent_path().filename().string();
  if (!folder.starts_with(kRepository) || folder.size() == kRepository.size())
    return EscapeText(own);
  std::string name;
  for (size_t at = kRepository.size(); at < folder.size();) {
    const bool slash = std::string_view(folder).substr(at).starts_with(kSlash);
    name += slash ? '/' : folder[at];
    at += slash ? kSlash.size() : 1;
  }
  return EscapeText(name);
}

}  // namespace tessera
