// Whether an engine could serve a model with these options, told from config.json alone: before
// weights are read and before anybody waits for a port. Errors name the flag and what would do.
// Tests: tests/engine/load/option_check_test.cc.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "engine/api/options.h"
#include "engine/backend/backend.h"

namespace tessera {

// `max_cache_bytes`: what a KV cache on `backend` could take at most.
absl::Status CheckOptions(const Backend& backend, const ModelOptions& model,
                          const EngineOptions& options, int64_t max_cache_bytes);

// Of EngineOptions::max_context, for a model whose own context is `own`.
absl::Status CheckMaxContext(int32_t max_context, int32_t own);

}  // namespace tessera
