// How many rows a sequence may have: those of the context, and those that the whole KV cache holds.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace tessera {

struct RowLimits {
  int64_t context = 0;
  int64_t kv_cache = 0;  // one more may be sampled: the last token needs no row

  // Rows of a prompt and its longest answer; `max_tokens` 0: as long as fits. INVALID_ARGUMENT when
  // they can never fit.
  absl::StatusOr<int32_t> MaxRows(int64_t prompt_rows, int32_t max_tokens) const;
};

}  // namespace tessera
