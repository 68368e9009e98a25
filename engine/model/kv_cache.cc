#include "engine/model/kv_cache.h"

#include "engine/base/status.h"

namespace tessera {

int64_t KvCache::BlockBytes(const DecoderSpec& decoder, int64_t block_size, DType dtype) {
  const int64_t rows = 2 * int64_t{decoder.layers} * decoder.kv_heads * block_size;
  const auto numbers = decoder.head_dim * static_cast<int64_t>(DTypeBytes(dtype));
  const auto scale = static_cast<int64_t>(DTypeBytes(DType::kFloat32));
  return rows * (dtype == DType::kFloat8 ? numbers + scale : numbers);
}

absl::StatusOr<std::unique_ptr<KvCache>> KvCache::Allocate(Backend& backend,
                                                           const DecoderSpec& decoder,
                                                           int64_t blocks, int64_t block_size,
                                                           std::optional<DType> named) {
  const DType dtype = named.value_or(backend.activation_dtype());
  RETURN_IF_ERROR(backend.CheckKvDType(dtype));
  auto cache = std::make_unique<KvCache>();
  cache->blocks_ = blocks;
  cache->block_size_ = block_size;
  cache->graph_cache_ = backend.MakeGraphCache();
  const auto allocate = [&](DType of, Dims dims, Tensor& tensor) -> absl::Status {
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, backend.Allocate(of, dims));
    tensor = buffer->tensor();
    cache->buffers_.push_back(std::move(buffer));
    return absl::OkStatus();
  };
  for (int i = 0; i < decoder.layers; ++i) {
    KvLayer layer;
    for (Tensor* half : {&layer.keys, &layer.values}) {
      RETURN_IF_ERROR(
          allocate(dtype, {blocks, decoder.kv_heads, block_size, decoder.head_dim}, *half));
    }
    for (Tensor* scales : {&layer.key_scales, &layer.value_scales}) {
      if (dtype != DType::kFloat8) continue;
      RETURN_IF_ERROR(allocate(DType::kFloat32, {blocks, decoder.kv_heads, block_size}, *scales));
    }
    cache->layers_.push_back(layer);
  }
  return cache;
}

void KvCache::CopyBlock(Backend& backend, int32_t from, int32_t to) const {
  for (const KvLayer& layer : layers_) {
    for (const Tensor& part : {layer.keys, layer.values, layer.key_scales, layer.value_scales}) {
      if (part.empty()) continue;
      const Tensor blocks = part.Reshape({blocks_, part.elements() / blocks_});
      backend.Copy(blocks.Rows(from, 1), blocks.Rows(to, 1));
    }
  }
}

}  // namespace tessera
