// Weights of a file lie at any address: those at odd ones give what those at even ones give.
#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/to_floats.h"
#include "engine/cpu/make_cpu_backend.h"
#include "engine/cpu/row_kernels.h"
#include "engine/cpu/weight_rows.h"
#include "tests/testing/safetensors_writer.h"
#include "tests/testing/temporary_directory.h"

namespace tessera {
namespace {

constexpr int64_t kOut = 48;
constexpr int64_t kIn = 67;  // no multiple of a vector
constexpr std::array kTypes = {DType::kFloat32, DType::kBFloat16, DType::kFloat16};

// [kOut · kIn], values that all types hold.
std::vector<float> Values() {
  std::vector<float> values;
  for (int64_t i = 0; i < kOut * kIn; ++i) values.push_back(static_cast<float>(i % 100) / 4);
  return values;
}

std::vector<char> Elements(const std::vector<float>& values, DType dtype) {
  std::vector<char> bytes(values.size() * DTypeBytes(dtype));
  rows::Narrow(values.data(), dtype, static_cast<int64_t>(values.size()), bytes.data());
  return bytes;
}

// The values of a type at an address with `shift` bytes over a multiple of 8.
class Shifted {
 public:
  Shifted(DType dtype, size_t shift) {
    const std::vector<char> elements = Elements(Values(), dtype);
    memory_.resize(elements.size() + shift);
    std::memcpy(memory_.data() + shift, elements.data(), elements.size());
    data_ = memory_.data() + shift;
  }
  const char* data() const { return data_; }

 private:
  std::vector<char> memory_;
  const char* data_;
};

TEST(UnalignedWeightsTest, RowsAreCopiedFromAnyAddress) {
  const std::vector<float> values = Values();
  for (const DType from : kTypes) {
    for (const size_t shift : {0, 1, 3}) {
      const Shifted source(from, shift);
      for (const DType to : {from, DType::kFloat32}) {
        for (const bool transposed : {false, true}) {
          const HostTensor matrix{from, {kOut, kIn}, source.data(), transposed ? kOut : 0};
          std::vector<float> wide(kIn), expected(kIn);
          for (int64_t c = 0; c < kIn; ++c)
            expected[c] = values[transposed ? 5 + c * kOut : 5 * kIn + c];
          std::vector<char> row(kIn * DTypeBytes(to));
          CopyWeightRow(matrix, 5, to, wide.data(), row.data());
          EXPECT_EQ(row, Elements(expected, to)) << DTypeName(from) << shift << transposed;
        }
      }
    }
  }
}

// With every activation type that this machine computes with, so with each of its kernels' packing.
TEST(UnalignedWeightsTest, PackedWeightsGiveTheSameProducts) {
  for (const DType activations : kTypes) {
    CpuOptions options;
    options.dtype = activations;
    const auto backend = MakeCpuBackend(options);
    if (!backend.ok()) continue;
    for (const DType dtype : kTypes) {
      for (const bool transposed : {false, true}) {
        const auto product = [&](size_t shift) {
          const Shifted source(dtype, shift);
          LinearWeights weights;
          weights.weights = {{dtype, {kOut, kIn}, source.data(), transposed ? kOut : 0}};
          const auto linear = (*backend)->PackLinear(weights).value();
          const Tensor x = (*backend)->UploadActivations(std::vector<float>(kIn, 1.0f), {1, kIn});
          std::vector<float> y;
          (*backend)
              ->StartDownload(std::array{Download((*backend)->Linear(x, *linear), y)})
              ->Wait();
          (*backend)->ResetArena();
          return y;
        };
        EXPECT_EQ(product(0), product(1))
            << DTypeName(activations) << DTypeName(dtype) << transposed;
      }
    }
  }
}

// What has no elements has no memory either.
TEST(UnalignedWeightsTest, NothingIsCopiedFromNowhere) {
  rows::Widen(nullptr, DType::kFloat32, 0, nullptr);
  rows::Widen(nullptr, DType::kBFloat16, 0, nullptr);
  rows::Narrow(nullptr, DType::kFloat32, 0, nullptr);
  const auto backend = MakeCpuBackend({}).value();
  const Tensor none = backend->Upload(std::vector<float>(), {0, 4});
  std::vector<float> floats;
  std::vector<int32_t> ints;
  const Tensor no_ints = backend->Upload(std::vector<int32_t>(), {0});
  backend->Copy(none, none);
  backend->StartDownload(std::array{Download(none, floats), Download(no_ints, ints)})->Wait();
  EXPECT_TRUE(floats.empty() && ints.empty());
}

// A byte before it puts a tensor of a file at an odd offset.
TEST(UnalignedWeightsTest, ATensorAtAnOddOffsetOfAFile) {
  const std::pair<const char*, DType> types[] = {
      {"F32", DType::kFloat32}, {"BF16", DType::kBFloat16}, {"F16", DType::kFloat16}};
  for (const auto& [name, dtype] : types) {
    const testing::TemporaryDirectory directory;
    const std::vector<char> elements = Elements(Values(), dtype);
    testing::SafetensorsWriter writer;
    writer.Add("a", "U8", {1}, "x")
        .Add("even", name, {kOut, kIn}, {elements.data(), elements.size()});
    writer.Add("b", "U8", {1}, "x")
        .Add("odd", name, {kOut, kIn}, {elements.data(), elements.size()});
    writer.Write(directory.path() / "model.safetensors");
    const auto checkpoint = Checkpoint::Open({{directory.path()}}).value();
    bool any_odd = false;
    for (const char* tensor : {"even", "odd"}) {
      const auto stored = checkpoint->Take(tensor, {kOut, kIn});
      ASSERT_TRUE(stored.ok()) << stored.status();
      any_odd = any_odd || reinterpret_cast<uintptr_t>(stored->data) % 2 == 1;
      EXPECT_EQ(ToFloats(*stored), Values());
      const auto backend = MakeCpuBackend({}).value();
      const auto buffer = backend->Load(*stored, DType::kFloat32).value();
      std::vector<float> loaded;
      backend->StartDownload(std::array{Download(buffer->tensor(), loaded)})->Wait();
      EXPECT_EQ(loaded, Values());
    }
    EXPECT_TRUE(any_odd);
  }
}

}  // namespace
}  // namespace tessera
