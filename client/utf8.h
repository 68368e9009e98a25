// Texts are sent as they are, and only UTF-8 can be sent: checked before, where the user can still
// be told which of the texts it was.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace tessera {

// INVALID_ARGUMENT "NAME is not valid UTF-8: byte 12 is 0xff".
absl::Status CheckUtf8(std::string_view name, std::string_view text);

}  // namespace tessera
