#include "engine/load/option_check.h"

#include <fmt/format.h>

#include "engine/base/status.h"
#include "engine/model/arch/architectures.h"
#include "engine/model/kv_cache.h"

namespace tessera {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

int64_t RoundUp(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

absl::Status CheckCacheBytes(int64_t bytes, int64_t context, int64_t context_bytes,
                             int64_t max_bytes) {
  if (bytes > max_bytes) {
    return absl::InvalidArgumentError(fmt::format("--kv-cache-mib {}: there are {} MiB of memory",
                                                  bytes / kMiB, max_bytes / kMiB));
  }
  if (bytes < context_bytes) {
    return absl::InvalidArgumentError(fmt::format(
        "--kv-cache-mib {}: the cache of one context of {} tokens takes {} MiB; ask for as much, "
        "or lower --max-context",
        bytes / kMiB, context, RoundUp(context_bytes, kMiB) / kMiB));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckMaxContext(int32_t max_context, int32_t own) {
  if (max_context <= own) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("--max-context {}: the model's context has {} tokens at most", max_context, own));
}

absl::Status CheckOptions(const Backend& backend, const ModelOptions& model,
                          const EngineOptions& options, int64_t max_cache_bytes) {
  const DType kv_dtype = options.kv_dtype.value_or(backend.activation_dtype());
  RETURN_IF_ERROR(backend.CheckKvDType(kv_dtype));
  ASSIGN_OR_RETURN(const ModelSpec spec,
                   ReadModelSpec({model.model_dir, model.vision_tower_dir, model.base_dir}));
  RETURN_IF_ERROR(CheckMaxContext(options.max_context, spec.max_context));
  if (options.kv_cache_bytes == 0) return absl::OkStatus();
  const int32_t context = options.max_context > 0 ? options.max_context : spec.max_context;
  const int32_t block = options.block_size > 0 ? options.block_size : backend.BlockRows();
  const int64_t context_bytes =
      RoundUp(context, block) * KvCache::BlockBytes(spec.decoder, 1, kv_dtype);
  return CheckCacheBytes(options.kv_cache_bytes, context, context_bytes, max_cache_bytes);
}

}  // namespace tessera
