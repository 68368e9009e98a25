#include "server/listen_address.h"

#include <fmt/format.h>

#include <charconv>

namespace tessera {

absl::StatusOr<ListenAddress> ParseListenAddress(const std::string& text) {
  const auto fault = [&] {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is not an address like 127.0.0.1:50051 or [::1]:50051", text));
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return fault();
  ListenAddress address{.host = text.substr(0, colon), .port = 0};
  const char* end = text.data() + text.size();
  const auto [parsed, error] = std::from_chars(text.data() + colon + 1, end, address.port);
  if (error != std::errc() || parsed != end || address.port < 0 || address.port > 65535) {
    return fault();
  }
  const bool bracketed = address.host.starts_with('[') && address.host.ends_with(']');
  if (bracketed) address.host = address.host.substr(1, address.host.size() - 2);
  if (address.host.empty() || (!bracketed && address.host.find(':') != std::string::npos)) {
    return fault();
  }
  return address;
}

std::string ToString(const ListenAddress& address) {
  const bool v6 = address.host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", address.host, address.port)
            : fmt::format("{}:{}", address.host, address.port);
}

}  // namespace tessera
