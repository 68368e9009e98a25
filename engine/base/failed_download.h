// What stands in a model directory where a download failed, told by its content.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace tessera {

// Of a file's bytes: "is a git-lfs pointer: …", "is an HTML page …", "is empty; …", "is a server's
// answer …", "begins with zeros …", "is compressed …"; empty for anything else.
std::string FailedDownload(std::string_view bytes);

// Of a file of another format that its reader refused: "; it begins with the text "…": was it
// downloaded?", "; it is a zip archive"; empty for anything else.
std::string ContentInstead(std::string_view bytes);

// A reader's refusal of a file of no text, with its path before and ContentInstead() behind it.
absl::Status RefusedFile(const absl::Status& why, const std::filesystem::path& path,
                         std::string_view bytes);

}  // namespace tessera
