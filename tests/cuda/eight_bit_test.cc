// cuda/kernels/eight_bit.h: every number of both formats, on the way in and on the way out.
#include "cuda/kernels/eight_bit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "cuda/kernels/hopper_tile.h"
#include "cuda/make_cuda_backend.h"

namespace tessera::cuda {
namespace {

// What a byte stands for, after OCP OFP8.
float NumberOf(WeightFormat format, int byte) {
  if (format == WeightFormat::kInt8) return static_cast<float>(static_cast<int8_t>(byte));
  const int exponent = byte >> 3 & 15;
  const auto fraction = static_cast<float>(byte & 7) / 8;
  const float magnitude =
      exponent == 0 ? std::ldexp(fraction, -6) : std::ldexp(1 + fraction, exponent - 7);
  return byte < 128 ? magnitude : -magnitude;
}

bool IsNumber(WeightFormat format, int byte) {
  return format == WeightFormat::kInt8 || (byte & 0x7f) != 0x7f;
}

template <WeightFormat kFormat, typename T>
void CheckWidening() {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      if (!IsNumber(kFormat, a) || !IsNumber(kFormat, b)) continue;
      // What stands between them does not matter.
      const uint32_t pair = WidenPair<kFormat, T>(0xa5005a00u | static_cast<uint32_t>(b) << 16 |
                                                  static_cast<uint32_t>(a));
      ASSERT_EQ(ToFloat(T{static_cast<uint16_t>(pair)}), NumberOf(kFormat, a)) << a;
      ASSERT_EQ(ToFloat(T{static_cast<uint16_t>(pair >> 16)}), NumberOf(kFormat, b)) << b;
    }
  }
}

TEST(EightBitTest, WidensExactly) {
  CheckWidening<WeightFormat::kFloat8, BFloat16>();
  CheckWidening<WeightFormat::kFloat8, Float16>();
  CheckWidening<WeightFormat::kInt8, BFloat16>();
  CheckWidening<WeightFormat::kInt8, Float16>();
}

template <WeightFormat kFormat>
void CheckRounding() {
  const int most = kFormat == WeightFormat::kFloat8 ? 0x7e : 127;
  for (int i = 0; i < most; ++i) {
    const float low = NumberOf(kFormat, i);
    const float high = NumberOf(kFormat, i + 1);
    const float middle = (low + high) / 2;
    for (const float sign : {1.0f, -1.0f}) {
      const auto number = [&](float x) { return NumberOf(kFormat, Quantize<kFormat>(sign * x)); };
      EXPECT_EQ(number(low), sign * low);
      EXPECT_EQ(number(high), sign * high);
      EXPECT_EQ(number(std::nextafter(middle, 0.0f)), sign * low);
      EXPECT_EQ(number(std::nextafter(middle, 1000.0f)), sign * high);
      EXPECT_EQ(number(middle), sign * (i % 2 == 0 ? low : high));
    }
  }
  EXPECT_EQ(NumberOf(kFormat, Quantize<kFormat>(1e6f)), NumberOf(kFormat, most));
  EXPECT_EQ(NumberOf(kFormat, Quantize<kFormat>(-1e6f)), -NumberOf(kFormat, most));
}

TEST(EightBitTest, RoundsToNearestEven) {
  CheckRounding<WeightFormat::kFloat8>();
  CheckRounding<WeightFormat::kInt8>();
}

TEST(EightBitTest, EveryPlaceIsTakenOnce) {
  std::set<int64_t> places;
  for (int64_t row = 0; row < 48; ++row) {
    for (int64_t col = 0; col < 128; ++col) places.insert(EightBitPlace(row, col, 128));
  }
  EXPECT_EQ(places.size(), 48u * 128);
  EXPECT_EQ(*places.begin(), 0);
  EXPECT_EQ(*places.rbegin(), 48 * 128 - 1);
}

TEST(EightBitTest, NeedsSixteenBitActivations) {
  for (const WeightFormat format : kQuantisedFormats) {
    const auto backend = MakeCudaBackend(DType::kFloat32, format);
    EXPECT_EQ(backend.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(backend.status().message().find("--dtype bfloat16"), std::string::npos);
    EXPECT_TRUE(MakeCudaBackend(DType::kFloat16, format).ok());
  }
}

// Nothing else multiplies them.
TEST(EightBitTest, RowsOf8BitsRefuseMoreExpertsThanTheKernelTakes) {
  const auto backend = MakeCudaBackend(DType::kBFloat16, WeightFormat::kFloat8W8A8).value();
  const std::vector<float> values(16 * 16, 0.5f);
  const HostTensor matrix = {DType::kFloat32, {16, 16}, values.data()};
  ExpertWeights source;
  source.up.assign(kMaxTiledExperts, {{matrix}, {}});
  source.down = source.up;
  EXPECT_TRUE(backend->PackExperts(source).ok());
  source.up.push_back(source.up[0]);
  source.down = source.up;
  const auto packed = backend->PackExperts(source);
  EXPECT_EQ(packed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(packed.status().message().find("513 experts"), std::string::npos) << packed.status();
}

}  // namespace
}  // namespace tessera::cuda
