// What crosses between the host's memory and a device's, also more than a device stages at once.
#include <array>
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

// A step's results are read after later steps were queued over its memory.
TEST_P(MemoryTest, WhatArrivesIsWhatWasThere) {
  constexpr int64_t kCount = 5000;
  struct Step {
    std::vector<float> wide, narrow, expected;
    std::vector<int32_t> numbers;
    std::unique_ptr<PendingCopy> arrival;
  };
  std::vector<Step> steps(12);
  for (int32_t i = 0; i < 12; ++i) {
    Step& step = steps[static_cast<size_t>(i)];
    step.expected = Random(kCount, 50 + i);
    const Tensor narrow = backend().UploadActivations(step.expected, {kCount});
    const Tensor wide = backend().Upload(step.expected, {kCount});
    const Tensor numbers = backend().Upload(Numbers(kCount, i), {kCount});
    step.arrival = backend().StartDownload(std::array{
        Download(narrow, step.narrow), Download(wide, step.wide), Download(numbers, step.numbers)});
    backend().ResetArena();
    if (i % 3 == 0) continue;  // some wait for the step before them, some are never waited for
    steps[static_cast<size_t>(i - 1)].arrival->Wait();
  }
  for (int32_t i = 0; i < 12; ++i) {
    Step& step = steps[static_cast<size_t>(i)];
    if (i % 3 == 2) continue;
    EXPECT_EQ(step.narrow, step.expected) << i;
    EXPECT_EQ(step.wide, step.expected) << i;
    EXPECT_EQ(step.numbers, Numbers(kCount, i)) << i;
  }
}

// What the one wrote, the other reads once it is done.
TEST_P(MemoryTest, TheSecondaryStreamWorksBesideThisOne) {
  const std::unique_ptr<Backend> side = backend().MakeSecondaryStream();
  ASSERT_EQ(side != nullptr, backend().queues());
  if (side == nullptr) GTEST_SKIP() << "one queue";
  const auto buffer = *side->Allocate(DType::kInt32, {1000});
  side->Copy(side->Upload(Numbers(1000, 9), {1000}), buffer->tensor());
  const Tensor own = backend().Upload(Numbers(1000, 3), {1000});
  if (emulated()) {
    // a real GPU may be as quick as the question
    EXPECT_FALSE(side->Idle()) << "nobody has waited";
  }
  while (!side->Idle()) {
  }
  EXPECT_EQ(backend().DownloadInts(buffer->tensor()), Numbers(1000, 9));
  EXPECT_EQ(backend().DownloadInts(own), Numbers(1000, 3));
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
