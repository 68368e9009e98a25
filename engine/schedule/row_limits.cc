#include "engine/schedule/row_limits.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/status.h"

namespace tessera {

absl::StatusOr<int32_t> RowLimits::MaxRows(int64_t prompt_rows, int32_t max_tokens) const {
  const int64_t capacity = kv_cache + 1;
  const int64_t wanted = std::max(1, max_tokens);
  if (prompt_rows + wanted > context) {
    return RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kContextLengthExceeded,
                        max_tokens > 0 ? "sampling.max_tokens" : "input",
                        fmt::format("a prompt of {} tokens and an answer of {} do not fit into the "
                                    "context of {}; shorten one of them",
                                    prompt_rows, wanted, context));
  }
  if (prompt_rows + wanted > capacity) {
    return RequestError(absl::StatusCode::kInvalidArgument, ErrorReason::kKvCapacityExceeded,
                        "input",
                        fmt::format("{} tokens can never fit into the KV cache of {}",
                                    prompt_rows + wanted, capacity));
  }
  return static_cast<int32_t>(max_tokens > 0 ? prompt_rows + wanted : std::min(context, capacity));
}

}  // namespace tessera
