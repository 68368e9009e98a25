// What a KV cache takes, and which dtypes a device refuses it in.
#include "engine/model/kv_cache.h"

#include <gtest/gtest.h>

#include "engine/cpu/make_cpu_backend.h"

namespace tessera {
namespace {

DecoderSpec Spec() {
  DecoderSpec decoder;
  decoder.layers = 3;
  decoder.kv_heads = 4;
  decoder.head_dim = 80;
  return decoder;
}

TEST(KvCacheTest, BytesOfABlock) {
  constexpr int64_t kRows = 2 * 3 * 4 * 16;
  EXPECT_EQ(KvCache::BlockBytes(Spec(), 16, DType::kFloat32), kRows * 80 * 4);
  EXPECT_EQ(KvCache::BlockBytes(Spec(), 16, DType::kBFloat16), kRows * 80 * 2);
  EXPECT_EQ(KvCache::BlockBytes(Spec(), 16, DType::kFloat8), kRows * (80 + 4));
}

TEST(KvCacheTest, TheCpuHasNoneOfEightBits) {
  const auto backend = MakeCpuBackend({.dtype = DType::kFloat16}).value();
  const auto cache = KvCache::Allocate(*backend, Spec(), 2, 16, DType::kFloat8);
  EXPECT_EQ(cache.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(cache.status().message(),
            "cpu keeps the KV cache in float16, not in fp8; use --device cuda or leave --kv-dtype "
            "out");
  const auto usual = KvCache::Allocate(*backend, Spec(), 2, 16);
  ASSERT_TRUE(usual.ok()) << usual.status();
  EXPECT_EQ((*usual)->layer(2).keys.dtype, DType::kFloat16);
  EXPECT_TRUE((*usual)->layer(2).key_scales.empty());
}

}  // namespace
}  // namespace tessera
