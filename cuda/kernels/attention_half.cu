// Attention of bfloat16 and float16 over keys and values of the same type.
#include "cuda/kernels/attention_half.h"

namespace tessera::cuda {

void LaunchAttend(const AttentionTask<BFloat16>& task, const dim3& blocks, bool few, bool totals,
                  gpu::Stream stream) {
  LaunchHalf<BFloat16, StoredTiles>(task, blocks, few, totals, stream);
}
void LaunchAttend(const AttentionTask<Float16>& task, const dim3& blocks, bool few, bool totals,
                  gpu::Stream stream) {
  LaunchHalf<Float16, StoredTiles>(task, blocks, few, totals, stream);
}

}  // namespace tessera::cuda
