// The spelling of bytes in GPT-2's vocabulary files: each of the 256 bytes is written as one
// printable character, so that a file of tokens is plain text (Radford et al. 2019, "Language
// Models are Unsupervised Multitask Learners", byte-level BPE). Bytes that are printable Latin-1
// stand for themselves; the others are U+0100 and on, in order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tessera {

// How a byte is written, e.g. 0x20 as "Ġ".
std::string SpellByte(uint8_t byte);

// The bytes that `spelling` stands for, or nothing where a character spells no byte.
std::optional<std::string> UnspellBytes(std::string_view spelling);

}  // namespace tessera
