// Unicode normalization form C of marked text (Unicode Standard Annex #15), with the tables of
// utf8proc.
#pragma once

#include <optional>

#include "engine/tokenizer/marked_text.h"

namespace tessera {

// The NFC of `view`, whose text is valid UTF-8, or nothing where it is plain to see that it is in
// NFC already. Bytes that stay keep their mark; what is composed anew is trusted only as far as the
// least trusted byte it may come from. Linear in the length but for sorting runs of combining
// marks.
std::optional<MarkedText> NormalizeNfc(MarkedView view);

}  // namespace tessera
