// What crosses between the host's memory and a device's, also more than a device stages at once.
#include <numeric>

#include "tests/testing/backend_test.h"

namespace tessera::testing {
namespace {

class MemoryTest : public BackendTest {
 protected:
  static std::vector<int32_t> Numbers(int64_t count, int32_t first) {
    std::vector<int32_t> numbers(static_cast<size_t>(count));
    std::iota(numbers.begin(), numbers.end(), first);
    return numbers;
  }
};

TEST_P(MemoryTest, WhatGoesUpComesDown) {
  for (const int64_t count : {int64_t{1}, int64_t{1000}, (int64_t{40} << 20) / 4 + 3}) {
    const auto numbers = Numbers(count, 7);
    EXPECT_EQ(backend().DownloadInts(backend().Upload(numbers, {count})), numbers) << count;
    backend().ResetArena();
  }
}

// 24 times 3 MiB: on a GPU copies go on while the ones before them are still on their way.
TEST_P(MemoryTest, ManyAtOnceDoNotMix) {
  const int64_t count = (int64_t{3} << 20) / 4;
  std::vector<Tensor> tensors;
  for (int32_t i = 0; i < 24; ++i) {
    tensors.push_back(backend().Upload(Numbers(count, i * 1000), {count}));
  }
  const auto values = backend().DownloadInts(tensors);
  ASSERT_EQ(values.size(), tensors.size());
  for (int32_t i = 0; i < 24; ++i) EXPECT_EQ(values[i], Numbers(count, i * 1000)) << i;
}

TEST_P(MemoryTest, ActivationsAreRoundedOnceAndWidened) {
  const std::vector<float> values = Random(5000, 1);  // numbers of the dtype
  Tensor x = backend().UploadActivations(values, {50, 100});
  EXPECT_EQ(x.dtype, dtype());
  EXPECT_EQ(backend().DownloadFloats(x), values);
}

INSTANTIATE_TEST_SUITE_P(Devices, MemoryTest, ::testing::ValuesIn(BackendCases()), BackendCaseName);

}  // namespace
}  // namespace tessera::testing
