// What stands in a model directory where a download failed, told by its content.
#pragma once

#include <string>
#include <string_view>

namespace tessera {

// Of a file's bytes: "is a git-lfs pointer: …", "is an HTML page, …", "is empty; …"; empty for
// anything else.
std::string FailedDownload(std::string_view bytes);

}  // namespace tessera
