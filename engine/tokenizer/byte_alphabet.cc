#include "engine/tokenizer/byte_alphabet.h"

#include <array>

#include "engine/base/utf8.h"

namespace tessera {
namespace {

constexpr char32_t kFirstStandIn = 0x100;

constexpr bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<char32_t, 256> spelling{};
  std::array<int, 512> byte{};  // by code point; -1: spells none
};

constexpr Alphabet MakeAlphabet() {
  Alphabet alphabet;
  for (int& byte : alphabet.byte) byte = -1;
  char32_t stand_in = kFirstStandIn;
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t spelling = StandsForItself(byte) ? static_cast<char32_t>(byte) : stand_in++;
    alphabet.spelling[byte] = spelling;
    alphabet.byte[spelling] = byte;
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

std::string SpellByte(uint8_t byte) {
  std::string spelling;
  AppendUtf8(kAlphabet.spelling[byte], &spelling);
  return spelling;
}

std::optional<std::string> UnspellBytes(std::string_view spelling) {
  std::string bytes;
  while (!spelling.empty()) {
    const Utf8Part part = NextUtf8Part(spelling);
    if (part.kind != Utf8Kind::kCharacter || part.code_point >= kAlphabet.byte.size()) return {};
    const int byte = kAlphabet.byte[part.code_point];
    if (byte < 0) return {};
    bytes.push_back(static_cast<char>(byte));
    spelling.remove_prefix(part.length);
  }
  return bytes;
}

}  // namespace tessera
