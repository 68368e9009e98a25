#include "client/utf8.h"

#include <fmt/format.h>
#include <utf8proc.h>

namespace tessera {

absl::Status CheckUtf8(std::string_view name, std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    utf8proc_int32_t character = 0;
    const utf8proc_ssize_t bytes =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                         static_cast<utf8proc_ssize_t>(text.size() - at), &character);
    if (bytes <= 0) {
      return absl::InvalidArgumentError(fmt::format("{} is not valid UTF-8: byte {} is {:#04x}",
                                                    name, at,
                                                    static_cast<unsigned char>(text[at])));
    }
    at += static_cast<size_t>(bytes);
  }
  return absl::OkStatus();
}

}  // namespace tessera
