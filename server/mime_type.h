// What clients call the formats of images.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tessera {

// "image/jpeg", "image/png" or "image/webp" for each and its other names; "" for a type that says
// nothing about the format, as application/octet-stream: then the bytes alone tell. Nothing for any
// other type. Case, parameters and blanks do not count (RFC 9110, §8.3.1).
std::optional<std::string> ImageType(std::string_view mime_type);

}  // namespace tessera
