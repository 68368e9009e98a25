// The device memory behind KV blocks: for each layer keys and values [blocks, kv_heads, block_size,
// head_dim] and, of 8 bits, their scales. No policy: which block belongs to whom is the block
// pool's business.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/model/model_spec.h"

namespace tessera {

class KvCache {
 public:
  // Keys and values in the activations' dtype, or in `dtype` (Backend::CheckKvDType).
  static absl::StatusOr<std::unique_ptr<KvCache>> Allocate(
      Backend& backend, const DecoderSpec& decoder, int64_t blocks, int64_t block_size,
      std::optional<DType> dtype = std::nullopt);

  const KvLayer& layer(int index) const { return layers_[static_cast<size_t>(index)]; }
  // Copies the rows of one block over all layers; before the step's own writes.
  void CopyBlock(Backend& backend, int32_t from, int32_t to) const;
  // For passes over this cache.
  GraphCache& graph_cache() const { return *graph_cache_; }
  int64_t blocks() const { return blocks_; }
  int64_t block_size() const { return block_size_; }

  // Of one block over all layers, keys and values with their scales.
  static int64_t BlockBytes(const DecoderSpec& decoder, int64_t block_size, DType dtype);

 private:
  int64_t blocks_ = 0;
  int64_t block_size_ = 0;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<KvLayer> layers_;
  std::unique_ptr<GraphCache> graph_cache_;
};

}  // namespace tessera
