#include "engine/checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "engine/base/status.h"
#include "engine/checkpoint/tensor_file.h"
#include "tests/testing/safetensors_writer.h"
#include "tests/testing/temporary_directory.h"

namespace tessera {
namespace {

using testing::SafetensorsBytes;
using testing::SafetensorsWriter;

class SafetensorsTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<TensorFile>> Open(const std::string& bytes) const {
    testing::WriteFile(path_, bytes);
    return TensorFile::Open(path_);
  }

  testing::TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_.path() / "model.safetensors";
};

SafetensorsWriter SmallFile() {
  SafetensorsWriter writer;
  writer.AddFloats("a", {2, 3}, {1, 2, 3, 4, 5, 6});
  writer.Add("half", "F16", {2}, std::string("\x00\x3C\x00\xC0", 4));
  writer.Add("brain", "BF16", {1}, std::string("\x80\x3F", 2));
  writer.Add("empty", "F32", {0, 7}, "");
  writer.Add("ids", "I64", {1}, std::string("\x05\0\0\0\0\0\0\0", 8));
  writer.Add("scalar", "I32", {}, std::string("\x09\0\0\0", 4));
  return writer;
}

// For tests that write many files.
std::string TinyFile() {
  return SafetensorsWriter().AddFloats("a", {2}, {1, 2}).Add("b", "BF16", {1, 2}, "abcd").Bytes();
}

TEST_F(SafetensorsTest, ReadsEveryDtypeAndShape) {
  SafetensorsWriter writer = SmallFile();
  writer.header()["__metadata__"] = {{"format", "pt"}};
  const auto file = Open(writer.Bytes());
  ASSERT_TRUE(file.ok()) << file.status();
  const StoredTensors& tensors = (*file)->tensors();
  ASSERT_EQ(tensors.size(), 6u) << "metadata is no tensor";
  EXPECT_EQ(tensors.at("a").dims, (std::vector<int64_t>{2, 3}));
  float values[6];
  std::memcpy(values, tensors.at("a").data, sizeof(values));
  EXPECT_EQ(values[5], 6);
  EXPECT_EQ(tensors.at("half").dtype, DType::kFloat16);
  EXPECT_EQ(tensors.at("brain").dtype, DType::kBFloat16);
  EXPECT_EQ(tensors.at("empty").bytes, 0u);
  EXPECT_EQ(tensors.at("ids").dtype, DType::kInt64);
  EXPECT_EQ(*static_cast<const char*>(tensors.at("ids").data), 5);
  EXPECT_EQ(tensors.at("scalar").dims.size(), 0u);
  EXPECT_EQ(*static_cast<const char*>(tensors.at("scalar").data), 9);
}

TEST_F(SafetensorsTest, TensorsOfEveryDtypeOfTheFormatAreListed) {
  const auto file = Open(SafetensorsWriter()
                             .Add("mask", "BOOL", {3}, "abc")
                             .Add("bytes", "U8", {2, 2}, "abcd")
                             .Add("scalar", "F64", {}, "abcdefgh")
                             .Add("packed", "F4", {2, 3}, "abc")
                             .Bytes());
  ASSERT_TRUE(file.ok()) << file.status();
  for (const auto& [name, tensor] : (*file)->tensors()) {
    EXPECT_FALSE(tensor.dtype) << name;
  }
  EXPECT_EQ((*file)->tensors().at("mask").type, "BOOL");
  EXPECT_EQ((*file)->tensors().at("packed").bytes, 3u);
  EXPECT_FALSE(Open(SafetensorsWriter().Add("packed", "F4", {3}, "ab").Bytes()).ok());
}

TEST_F(SafetensorsTest, AHeaderMayBePaddedWithSpaces) {
  const std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}    )";
  EXPECT_TRUE(Open(SafetensorsBytes(header, "abcd")).ok());
  EXPECT_TRUE(Open(SafetensorsBytes("{}", "")).ok());
}

TEST_F(SafetensorsTest, AFileCutAnywhereIsRefused) {
  const std::string whole = TinyFile();
  ASSERT_TRUE(Open(whole).ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto file = Open(whole.substr(0, size));
    ASSERT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << "cut at " << size;
    EXPECT_NE(StatusMessage(file.status()).find(path_.string()), std::string_view::npos);
    if (size < 8) continue;
    EXPECT_NE(StatusMessage(file.status()).find("the file is cut: fetch it again"),
              std::string_view::npos)
        << file.status();
  }
  EXPECT_FALSE(Open(whole + "x").ok()) << "bytes that no tensor has";
}

TEST_F(SafetensorsTest, AChangedByteNeverCrashes) {
  const std::string whole = TinyFile();
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char value : {'\xFF', '"', '9', '['}) {
      std::string changed = whole;
      changed[at] = value;
      const auto tensors = ReadSafetensors(changed);
      if (!tensors.ok()) continue;
      for (const auto& [name, tensor] : *tensors) {  // whatever was read lies in the file
        const char* data = static_cast<const char*>(tensor.data);
        ASSERT_GE(data, changed.data());
        ASSERT_LE(data + tensor.bytes, changed.data() + changed.size());
      }
    }
  }
}

TEST_F(SafetensorsTest, HeadersOfImpossibleLengthsAreRefused) {
  for (const uint64_t length : {uint64_t{3}, uint64_t{100}, uint64_t{100'000'001},
                                uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} - 7, uint64_t{0}}) {
    const auto file = Open(SafetensorsBytes("{}", "", length));
    EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << length;
  }
}

TEST_F(SafetensorsTest, HeadersThatAreNoObjectsAreRefused) {
  for (const std::string& header :
       {std::string(), std::string("[]"), std::string("null"), std::string("7"),
        std::string("{\"a\":"), std::string("{} {}"), std::string("not JSON"),
        std::string("{\"\xFF\":1}"), std::string(200'000, '['), std::string(3, '\0')}) {
    const auto file = Open(SafetensorsBytes(header, ""));
    ASSERT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << header.substr(0, 40);
    EXPECT_NE(StatusMessage(file.status()).find(path_.string()), std::string_view::npos);
  }
}

std::string Nested(int levels) { return std::string(levels, '[') + std::string(levels, ']'); }

TEST_F(SafetensorsTest, BadEntriesAreRefusedWithFileAndTensor) {
  const std::pair<const char*, std::string> cases[] = {
      {"no object", R"(7)"},
      {"no object", R"([])"},
      {"no dtype", R"({"shape":[4],"data_offsets":[0,16]})"},
      {"no shape", R"({"dtype":"F32","data_offsets":[0,16]})"},
      {"no offsets", R"({"dtype":"F32","shape":[4]})"},
      {"unknown dtype", R"({"dtype":"F99","shape":[4],"data_offsets":[0,16]})"},
      {"dtype no string", R"({"dtype":32,"shape":[4],"data_offsets":[0,16]})"},
      {"shape no list", R"({"dtype":"F32","shape":4,"data_offsets":[0,16]})"},
      {"shape of strings", R"({"dtype":"F32","shape":["4"],"data_offsets":[0,16]})"},
      {"negative size", R"({"dtype":"F32","shape":[-4],"data_offsets":[0,16]})"},
      {"float size", R"({"dtype":"F32","shape":[4.0],"data_offsets":[0,16]})"},
      {"two negative sizes", R"({"dtype":"F32","shape":[-2,-2],"data_offsets":[0,16]})"},
      {"size beyond 63 bits",
       R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,16]})"},
      {"size beyond 64 bits",
       R"({"dtype":"F32","shape":[18446744073709551620],"data_offsets":[0,16]})"},
      {"product 0 in 64 bits",
       R"({"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,0]})"},
      {"product 16 in 64 bits",
       R"({"dtype":"F32","shape":[4611686018427387908],"data_offsets":[0,16]})"},
      {"nine dims", R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,16]})"},
      {"too small", R"({"dtype":"F32","shape":[3],"data_offsets":[0,16]})"},
      {"too large", R"({"dtype":"F32","shape":[5],"data_offsets":[0,16]})"},
      {"other dtype's size", R"({"dtype":"F16","shape":[4],"data_offsets":[0,16]})"},
      {"one offset", R"({"dtype":"F32","shape":[4],"data_offsets":[16]})"},
      {"three offsets", R"({"dtype":"F32","shape":[4],"data_offsets":[0,16,16]})"},
      {"offsets no list", R"({"dtype":"F32","shape":[4],"data_offsets":{"0":16}})"},
      {"negative offset", R"({"dtype":"F32","shape":[4],"data_offsets":[-16,0]})"},
      {"float offset", R"({"dtype":"F32","shape":[4],"data_offsets":[0,16.0]})"},
      {"backwards", R"({"dtype":"F32","shape":[4],"data_offsets":[16,0]})"},
      {"beyond the end", R"({"dtype":"F32","shape":[4],"data_offsets":[16,32]})"},
      {"far beyond the end",
       R"({"dtype":"F32","shape":[4],"data_offsets":[9223372036854775791,9223372036854775807]})"},
      {"a hole before it", R"({"dtype":"F32","shape":[2],"data_offsets":[8,16]})"},
      {"nested size",
       R"({"dtype":"F32","shape":)" + Nested(1'000'000) + R"(,"data_offsets":[0,16]})"},
      {"nested offsets", R"({"dtype":"F32","shape":[4],"data_offsets":)" + Nested(1'000'000) + "}"},
  };
  for (const auto& [what, entry] : cases) {
    const auto file =
        Open(SafetensorsBytes("{\"the.tensor\":" + entry + "}", std::string(16, 'x')));
    ASSERT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << what;
    const std::string_view message = StatusMessage(file.status());
    EXPECT_NE(message.find(path_.string()), std::string_view::npos) << what << ": " << message;
    EXPECT_NE(message.find("\"the.tensor\""), std::string_view::npos) << what << ": " << message;
    EXPECT_LT(message.size(), 1000u) << what;
  }
}

TEST_F(SafetensorsTest, TensorsMustNeitherOverlapNorLeaveHoles) {
  const auto open = [&](const std::string& first, const std::string& second) {
    const std::string header = R"({"a":{"dtype":"F32","shape":)" + first +
                               R"(},"b":{"dtype":"F32","shape":)" + second + "}}";
    return Open(SafetensorsBytes(header, std::string(16, 'x'))).status();
  };
  EXPECT_TRUE(open(R"([2],"data_offsets":[8,16])", R"([2],"data_offsets":[0,8])").ok());
  const absl::Status overlap = open(R"([3],"data_offsets":[0,12])", R"([2],"data_offsets":[8,16])");
  EXPECT_EQ(overlap.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(StatusMessage(overlap).find("\"b\""), std::string_view::npos) << overlap;
  EXPECT_NE(StatusMessage(overlap).find("overlap"), std::string_view::npos) << overlap;
  const absl::Status same = open(R"([4],"data_offsets":[0,16])", R"([4],"data_offsets":[0,16])");
  EXPECT_NE(StatusMessage(same).find("overlap"), std::string_view::npos) << same;
  const absl::Status hole = open(R"([1],"data_offsets":[0,4])", R"([2],"data_offsets":[8,16])");
  EXPECT_NE(StatusMessage(hole).find("hole"), std::string_view::npos) << hole;
  const absl::Status rest = open(R"([1],"data_offsets":[0,4])", R"([2],"data_offsets":[4,12])");
  EXPECT_NE(StatusMessage(rest).find("12 of 16"), std::string_view::npos) << rest;
}

TEST_F(SafetensorsTest, WhatIsNoFileIsNamed) {
  const auto missing = TensorFile::Open(path_);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(StatusMessage(missing.status()).find(path_.string()), std::string_view::npos);
  const auto directory = TensorFile::Open(directory_.path());
  EXPECT_EQ(directory.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(StatusMessage(directory.status()).find("not a regular file"), std::string_view::npos);
}

}  // namespace
}  // namespace tessera
