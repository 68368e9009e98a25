// How SentencePiece spells a space inside a token: U+2581, "▁".
#pragma once

#include <string>
#include <string_view>

namespace tessera {

inline constexpr std::string_view kSpaceSymbol = "\u2581";

// `text` with every `from`, which is not empty, replaced by `to`.
inline std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  size_t done = 0;
  for (size_t at = text.find(from); at != std::string_view::npos; at = text.find(from, done)) {
    out.append(text.substr(done, at - done)).append(to);
    done = at + from.size();
  }
  return out.append(text.substr(done));
}

inline std::string UnescapeSpaces(std::string_view token) {
  return ReplaceAll(token, kSpaceSymbol, " ");
}

}  // namespace tessera
