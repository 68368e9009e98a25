// The whole engine on the CUDA backend: the CPU's tokens.
#include <gtest/gtest.h>

#include "cuda/make_cuda_backend.h"
#include "tests/testing/phi_engine.h"

namespace tessera {
namespace {

using testing::Ask;

TEST(DescribeGpusTest, SaysWhatEachIs) {
  EXPECT_EQ(
      DescribeGpus().value(),
      std::vector<std::string>{"emulated, compute capability 9.0, 4 multiprocessors, 4096 MiB"});
}

// What the encoder's own queue writes is read when it is there.
TEST(CudaEngineTest, ImagesComeWhileAnswersAreUnderWay) {
  const std::vector<Request> requests = {
      Ask("What is it?", "wide.png", 4), Ask("What is it?", "gray.png", 4),
      Ask("What is it?", "tall.jpg", 4), Ask("What is it?", "square.png", 4)};
  const auto cpu = testing::StartPhi();
  std::vector<std::vector<int32_t>> expected;
  for (const Request& request : requests) expected.push_back(testing::RunAlone(*cpu, request));
  EngineOptions options;
  options.kv_cache_bytes = int64_t{4} << 20;
  const auto engine = testing::StartPhi(MakeCudaBackend(DType::kFloat32).value(), options);
  const auto talk = testing::Submit(*engine, Ask("Tell me of the harbour.", "", 40));
  // One after the other, so that after the first no memory comes or goes, for which all would wait.
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(testing::RunAlone(*engine, requests[i]), expected[i]) << i;
  }
  talk->Wait();
  EXPECT_EQ(talk->token_ids(), testing::RunAlone(*cpu, Ask("Tell me of the harbour.", "", 40)));
  testing::ExpectIdle(*engine);
}

// Noise is fresh in steps that are replayed.
TEST(CudaEngineTest, GumbelRouting) {
  EngineOptions options;
  options.kv_cache_bytes = int64_t{4} << 20;
  const auto engine =
      testing::StartPhi(MakeCudaBackend(DType::kFloat32).value(), options, RouterMode::kGumbel);
  const auto cpu = testing::StartPhi({}, RouterMode::kGumbel);
  Request request = Ask("Tell me of the harbour.", "", 16);
  for (const uint64_t seed : {1, 2}) {
    request.sampling.seed = seed;
    EXPECT_EQ(testing::RunAlone(*engine, request), testing::RunAlone(*cpu, request)) << seed;
  }
}

}  // namespace
}  // namespace tessera
