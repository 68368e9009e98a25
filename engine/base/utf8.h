// UTF-8 as bytes arrive: checked when a request comes in, repaired when tokens go out.
//
// "Broken" follows the Unicode standard's practice of maximal subparts (The Unicode Standard 15.0,
// §3.9, "U+FFFD Substitution of Maximal Subparts"): the longest beginning of a character that
// cannot be continued counts as one error.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace tessera {

enum class Utf8Kind {
  kCharacter,   // one whole character
  kBroken,      // bytes that begin no character, whatever follows
  kIncomplete,  // the text ends inside a character
};

struct Utf8Part {
  Utf8Kind kind;
  size_t length;        // in bytes, 1 to 4
  char32_t code_point;  // of a whole character, else 0
};

// The part at the front of `bytes`, which must not be empty.
Utf8Part NextUtf8Part(std::string_view bytes);

// InvalidArgument with the offset of the first byte that is not part of a character.
absl::Status ValidateUtf8(std::string_view text);

// How many U+FFFD a broken part of a character becomes: one, or one for each of its bytes.
enum class Repair { kPerPart, kPerByte };

// Appends `bytes` to `out` with broken parts replaced. Stops before a character that the end cuts
// off and returns how many bytes it read: all but at most three.
size_t AppendRepairedUtf8(std::string_view bytes, std::string* out,
                          Repair repair = Repair::kPerPart);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// Appends a code point, which must be no surrogate and at most U+10FFFF.
void AppendUtf8(char32_t code_point, std::string* out);

}  // namespace tessera
