// cuda/kernels/four_bit.h: every number, every column, every scale.
#include "cuda/kernels/four_bit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "cuda/make_cuda_backend.h"

namespace tessera::cuda {
namespace {

template <typename T>
void CheckWidening() {
  for (const float scale : {1.0f, 31 * 0x1p-9f, 17 * 0x1p-12f}) {
    const uint32_t twice = Round<T>(scale).bits * 0x00010001u;
    for (uint32_t a = 1; a < 16; ++a) {
      for (uint32_t b = 1; b < 16; ++b) {
        // What stands between them does not matter.
        const uint32_t pair = WidenFour<T>(0xa5f0fff0u | b << 16 | a, twice);
        ASSERT_EQ(ToFloat(T{static_cast<uint16_t>(pair)}), scale * (static_cast<float>(a) - 8));
        ASSERT_EQ(ToFloat(T{static_cast<uint16_t>(pair >> 16)}),
                  scale * (static_cast<float>(b) - 8));
      }
    }
  }
}

TEST(FourBitTest, WidensExactly) {
  CheckWidening<BFloat16>();
  CheckWidening<Float16>();
}

TEST(FourBitTest, ScalesHaveFiveSignificantBits) {
  EXPECT_EQ(FourBitScale(0.0f), 0.0f);
  EXPECT_EQ(FourBitScale(7.0f), 1.0f);
  EXPECT_EQ(FourBitScale(7.0f * 31), 31.0f);
  EXPECT_EQ(FourBitScale(7.0f * 32.9f), 32.0f);
  EXPECT_EQ(FourBitScale(7.0f * 33), 32.0f) << "ties to even";
  EXPECT_EQ(FourBitScale(7.0f * 35), 36.0f);
  EXPECT_EQ(FourBitScale(INFINITY), INFINITY);
}

TEST(FourBitTest, TheBackendSaysHowItKeepsWeights) {
  EXPECT_EQ(MakeCudaBackend(DType::kFloat16, WeightFormat::kInt4).value()->weight_dtype(), "int4");
  EXPECT_EQ(MakeCudaBackend(DType::kFloat16).value()->weight_dtype(), "float16");
}

TEST(FourBitTest, EveryColumnIsTakenOnce) {
  for (int row_of_lanes = 0; row_of_lanes < 8; ++row_of_lanes) {
    std::set<int> columns;
    for (int lane = row_of_lanes * 4; lane < row_of_lanes * 4 + 4; ++lane) {
      for (int word = 0; word < 2; ++word) {
        for (int n = 0; n < 8; ++n) columns.insert(FourBitColumn(lane, word, n));
      }
    }
    EXPECT_EQ(columns.size(), 64u);
    EXPECT_EQ(*columns.begin(), 0);
    EXPECT_EQ(*columns.rbegin(), 63);
  }
}

}  // namespace
}  // namespace tessera::cuda
