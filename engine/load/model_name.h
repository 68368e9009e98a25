// What a model is called where nobody says.
#pragma once

#include <filesystem>
#include <string>

namespace tessera {

// The last part of the directory's path, or the repository's name ("org/name") where it lies as
// Hugging Face's cache keeps it: models--org--name/snapshots/<commit>. What is
// no UTF-8 and control characters are escaped.
std::string DefaultModelName(const std::filesystem::path& directory);

}  // namespace tessera
