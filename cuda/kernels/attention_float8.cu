// Attention of bfloat16 and float16 over a cache of 8 bits: tiles come as they are stored and are
// widened in shared memory, so that the rest is what it is without.
#include "cuda/kernels/attention_half.h"
#include "cuda/kernels/float8_rows.h"

namespace tessera::cuda {
namespace {

// Keys and values take turns in one tile of T: 8 bits of both and it together take less than two
// tiles of T.
template <typename Warp>
class WidenedTiles {
 public:
  using T = typename Warp::Element;
  static constexpr int kDim = Warp::kDims;
  static constexpr size_t kNumbers = size_t{kKeyTile} * kDim;  // of keys, and of values
  static constexpr size_t kScaleBytes = kKeyTile * sizeof(float);
  static constexpr size_t kBytes =
      2 * (kNumbers + kScaleBytes) + kKeyTile * Warp::kStride * sizeof(T);

  __device__ WidenedTiles(const AttentionTask<T>& task, const RowTile& tile, const KeyRange& range)
      : task_(task),
        tile_(tile),
        range_(range),
        numbers_(reinterpret_cast<Float8*>(gpu::SharedMemory())),
        scales_(reinterpret_cast<float*>(numbers_ + 2 * kNumbers)),
        widened_(reinterpret_cast<T*>(scales_ + 2 * kKeyTile)) {}

  __device__ __forceinline__ T* begin() const { return widened_; }
  __device__ __forceinline__ T* end() const { return widened_ + kKeyTile * Warp::kStride; }
  __device__ __forceinline__ void SendKeys(int key_tile) const {
    Send(task_.float8_keys, key_tile, numbers_, scales_);
  }
  __device__ __forceinline__ void SendValues(int key_tile) const {
    Send(task_.float8_values, key_tile, numbers_ + kNumbers, scales_ + kKeyTile);
  }
  __device__ __forceinline__ const T* Keys() const { return Widen(numbers_, scales_); }
  __device__ __forceinline__ const T* Values() const {
    return Widen(numbers_ + kNumbers, scales_ + kKeyTile);
  }
  // What is sent for next lands elsewhere, and who widens it has waited for all threads.
  __device__ __forceinline__ void Release() const {}

 private:
  static constexpr int kAcross = kDim < 128 ? 4 : 8;  // threads to a row

  // Those out of range are zeros and not looked for.
  __device__ __forceinline__ void Send(const Float8Rows& rows, int key_tile, Float8* numbers,
                                       float* scales) const {
    const int first = key_tile * kKeyTile;
    const bool gapless = task_.block_size % kKeyTile == 0;
    const int64_t origin = gapless ? CacheRow(task_, tile_, first) : 0;
    const auto seen = [&](int row) {
      return first + row >= range_.first && first + row <= range_.last;
    };
    const auto place = [&](int row) {
      return gapless ? origin + row : CacheRow(task_, tile_, first + row);
    };
    CopyRows<Float8, kDim, kAcross>(
        kKeyTile, task_.head_dim, rows.numbers, numbers, [&](int row) -> const Float8* {
          return seen(row) ? rows.numbers + place(row) * task_.head_dim : nullptr;
        });
    for (int row = static_cast<int>(threadIdx.x); row < kKeyTile; row += blockDim.x) {
      gpu::CopyAsync4(scales + row, rows.scales + (seen(row) ? place(row) : 0), seen(row));
    }
  }

  __device__ __forceinline__ const T* Widen(const Float8* numbers, const float* scales) const {
    const int step = static_cast<int>(blockDim.x) / kAcross;
    const int column = static_cast<int>(threadIdx.x) % kAcross * 16;
#pragma unroll 1
    for (int row = static_cast<int>(threadIdx.x) / kAcross; row < kKeyTile; row += step) {
      const uint32_t scale = ScalePair<T>(scales[row]);
#pragma unroll 1
      for (int c = column; c < task_.head_dim; c += 16 * kAcross) {
        WidenSixteen(numbers + row * kDim + c, scale, widened_ + row * Warp::kStride + c);
      }
    }
    gpu::SyncBlock();
    return widened_;
  }

  const AttentionTask<T>& task_;
  const RowTile& tile_;
  const KeyRange& range_;
  Float8* const numbers_;  // [2, kKeyTile, kDim]: of keys, then of values
  float* const scales_;    // [2, kKeyTile]
  T* const widened_;       // [kKeyTile, kStride]
};

}  // namespace

void LaunchAttendFloat8(const AttentionTask<BFloat16>& task, const dim3& blocks, bool few,
                        bool totals, gpu::Stream stream) {
  LaunchHalf<BFloat16, WidenedTiles>(task, blocks, few, totals, stream);
}
void LaunchAttendFloat8(const AttentionTask<Float16>& task, const dim3& blocks, bool few,
                        bool totals, gpu::Stream stream) {
  LaunchHalf<Float16, WidenedTiles>(task, blocks, few, totals, stream);
}

}  // namespace tessera::cuda
