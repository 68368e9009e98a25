// The Hopper product of E4M3 numbers on both sides. The tensor cores keep about 14 bits of such
// sums (DeepSeek-V3 Technical Report, section 3.5.2), so each takes 512 elements of K and is then
// added to a float32 sum.
#include "cuda/kernels/product_rows_hopper.h"

namespace tessera::cuda {
namespace {

constexpr int kSummedStages = 4;

template <typename T>
struct Float8Rows : PlainRows<T, Float8> {
  static constexpr WeightFormat kFormat = WeightFormat::kFloat8W8A8;

  template <typename S>
  static __device__ __forceinline__ void Sum(int in, int warpgroup, Shared<S>& shared,
                                             Turn<S::kStages>& turn, float (&d)[S::kPlaces / 2]) {
    constexpr int kSummed = kSummedStages * S::kStageK;
#pragma unroll
    for (float& sum : d) sum = 0;
    for (int begin = 0; begin < in; begin += kSummed) {
      const int end = in - begin < kSummed ? in : begin + kSummed;
      float part[S::kPlaces / 2];  // overwritten, but undefined ones would serialise the products
#pragma unroll
      for (float& sum : part) sum = 0;
      PlainRows<T, Float8>::SumStages(begin, end, warpgroup, shared, turn, part);
#pragma unroll
      for (int i = 0; i < S::kPlaces / 2; ++i) d[i] += part[i];
    }
  }
};

}  // namespace

void RunHopperFloat8Product(const Product& product, const HopperMaps& weights,
                            const HopperTile& tile, int multiprocessors, Stream stream) {
  if (product.y.dtype == DType::kFloat16) {
    LaunchHopperProduct<Float8Rows<Float16>>(product, weights, tile, multiprocessors, stream);
  } else {
    LaunchHopperProduct<Float8Rows<BFloat16>>(product, weights, tile, multiprocessors, stream);
  }
}

}  // namespace tessera::cuda
