#include "engine/model/kv_cache.h"

#include "engine/status.h"

namespace tessera {

int64_t KvCache::BlockBytes(const DecoderSpec& decoder, int64_t block_size, DType dtype) {
  return 2 * static_cast<int64_t>(DTypeBytes(dtype)) * decoder.layers * decoder.kv_heads *
         decoder.head_dim * block_size;
}

absl::StatusOr<std::unique_ptr<KvCache>> KvCache::Allocate(Backend& backend,
                                                           const DecoderSpec& decoder,
                                                           int64_t blocks, int64_t block_size) {
  auto cache = std::make_unique<KvCache>();
  cache->blocks_ = blocks;
  cache->block_size_ = block_size;
  cache->repeater_ = backend.MakeRepeater();
  for (int i = 0; i < decoder.layers; ++i) {
    KvLayer layer;
    for (Tensor* half : {&layer.keys, &layer.values}) {
      ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer,
                       backend.Allocate(backend.activation_dtype(),
                                        {blocks, decoder.kv_heads, block_size, decoder.head_dim}));
      *half = buffer->tensor();
      cache->buffers_.push_back(std::move(buffer));
    }
    cache->layers_.push_back(layer);
  }
  return cache;
}

void KvCache::CopyBlock(Backend& backend, int32_t from, int32_t to) const {
  for (const KvLayer& layer : layers_) {
    for (const Tensor& half : {layer.keys, layer.values}) {
      const Tensor blocks = half.Reshape({blocks_, half.elements() / blocks_});
      backend.Copy(blocks.Rows(from, 1), blocks.Rows(to, 1));
    }
  }
}

}  // namespace tessera
