// Archives that PyTorch wrote (golden/checkpoints/make.py) and hostile ones.
#include "engine/checkpoint/torch_archive.h"

#include <gtest/gtest.h>

#include <cstring>

#include "engine/base/status.h"
#include "engine/checkpoint/tensor_file.h"
#include "engine/checkpoint/to_floats.h"
#include "tests/testing/data_path.h"
#include "tests/testing/torch_archive_writer.h"

namespace tessera {
namespace {

using testing::PickleDict;
using testing::PickledTensor;
using testing::PickleGlobal;
using testing::PickleInt;
using testing::PickleText;
using testing::TorchArchive;

std::filesystem::path Golden(const std::string& name) {
  return testing::DataPath("golden/checkpoints/" + name);
}

std::unique_ptr<TensorFile> OpenGolden(const std::string& name) {
  auto file = TensorFile::Open(Golden(name));
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : std::make_unique<TensorFile>();
}

std::vector<float> Values(const StoredTensor& tensor) {
  if (tensor.strides.empty()) return ToFloats(tensor.View());
  std::vector<std::byte> bytes(tensor.bytes);
  CopyRowMajor(tensor, bytes.data());
  return ToFloats({*tensor.dtype, tensor.dims, bytes.data()});
}

// An archive with one tensor "t" on a storage of 24 bytes.
std::string OneTensor(const PickledTensor& tensor) {
  return TorchArchive(PickleDict({PickleText("t"), tensor.Text()}), std::string(24, '\0')).Bytes();
}

void ExpectRefused(const std::string& bytes, const std::vector<std::string>& named) {
  const auto tensors = ReadTorchArchive(bytes);
  EXPECT_FALSE(tensors.ok());
  for (const std::string& name : named) {
    EXPECT_NE(StatusMessage(tensors.status()).find(name), std::string_view::npos)
        << name << ": " << tensors.status();
  }
}

TEST(TorchArchiveTest, ReadsWindowsIntoOneStorage) {
  const auto file = OpenGolden("windows.bin");
  const StoredTensors& tensors = file->tensors();
  ASSERT_EQ(tensors.size(), 10u);
  const auto whole = [](int row, int column) { return static_cast<float>(row * 6 + column); };
  const std::vector<float> values = Values(tensors.at("whole"));
  for (int i = 0; i < 24; ++i) EXPECT_EQ(values[static_cast<size_t>(i)], i);
  EXPECT_EQ(Values(tensors.at("row")), (std::vector<float>{12, 13, 14, 15, 16, 17}));
  EXPECT_TRUE(tensors.at("row").strides.empty());
  EXPECT_EQ(Values(tensors.at("column")), (std::vector<float>{1, 7, 13, 19}));
  EXPECT_EQ(tensors.at("transposed").dims, (std::vector<int64_t>{6, 4}));
  const std::vector<float> transposed = Values(tensors.at("transposed"));
  for (int i = 0; i < 24; ++i) EXPECT_EQ(transposed[static_cast<size_t>(i)], whole(i % 4, i / 4));
  EXPECT_EQ(Values(tensors.at("every_other")), (std::vector<float>{1, 3, 5, 13, 15, 17}));
  EXPECT_EQ(Values(tensors.at("one_column")), (std::vector<float>{3, 9, 15, 21}));
  EXPECT_EQ(tensors.at("permuted").dims, (std::vector<int64_t>{4, 2, 3}));
  EXPECT_EQ(Values(tensors.at("permuted"))[7], 5) << "[1, 0, 1] is [0, 1, 1] of [2, 3, 4]";
  EXPECT_EQ(Values(tensors.at("halves")), (std::vector<float>{0, 0.75, 0.25, 1, 0.5, 1.25}));
  EXPECT_EQ(Values(tensors.at("scalar")), std::vector<float>{2.5});
  EXPECT_TRUE(tensors.at("scalar").dims.empty());
  EXPECT_EQ(tensors.at("empty").bytes, 0u);
}

TEST(TorchArchiveTest, ListsTensorsOfEveryType) {
  const auto file = OpenGolden("types.bin");
  ASSERT_EQ(file->tensors().size(), 12u);
  const std::map<std::string, DType> known = {{"float32", DType::kFloat32},
                                              {"bfloat16", DType::kBFloat16},
                                              {"float16", DType::kFloat16},
                                              {"int32", DType::kInt32},
                                              {"int64", DType::kInt64}};
  for (const auto& [name, tensor] : file->tensors()) {
    const auto found = known.find(name);
    EXPECT_EQ(tensor.dtype, found == known.end() ? std::nullopt : std::optional(found->second));
    EXPECT_EQ(tensor.dims, std::vector<int64_t>{3}) << name;
    if (IsFloat(tensor)) {
      EXPECT_EQ(Values(tensor), std::vector<float>(3, 1)) << name;
    }
  }
}

TEST(TorchArchiveTest, ReadsStateDictsOfModules) {
  const auto file = OpenGolden("state_dict.bin");
  const StoredTensors& tensors = file->tensors();
  ASSERT_EQ(tensors.size(), 6u);
  EXPECT_EQ(Values(tensors.at("0.weight")), (std::vector<float>{0, 1, 2, 3}));
  EXPECT_EQ(Values(tensors.at("2.bias")), (std::vector<float>{50, 51}));
  EXPECT_EQ(tensors.at("0.weight").data, tensors.at("2.weight").data) << "tied";
}

TEST(TorchArchiveTest, FindsTensorsInTrainingCheckpoints) {
  const auto file = OpenGolden("training.pt");
  const StoredTensors& tensors = file->tensors();
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(Values(tensors.at("weight")), (std::vector<float>{1, 2}));
  EXPECT_EQ(Values(tensors.at("history.2.0")), std::vector<float>{7});
  EXPECT_EQ(Values(tensors.at("optimizer.state.0.exp_avg")), std::vector<float>{3});
  EXPECT_EQ(Values(OpenGolden("protocol4.pt")->tensors().at("a")),
            (std::vector<float>{0, 1, 6, 7}));
}

TEST(TorchArchiveTest, OtherFilesOfPyTorchAreRefusedWithTheReason) {
  const std::pair<const char*, const char*> cases[] = {
      {"legacy.bin", "before 1.6"},
      {"script.pt", "TorchScript"},
      {"device.bin", "byte 178: torch.device"},
      {"sparse.bin", "torch._utils._rebuild_sparse_tensor"},
      {"module.pt", "byte 2: torch.nn.modules.container.Sequential"},
      {"expanded.bin", "tensor \"a\""},
  };
  for (const auto& [name, reason] : cases) {
    const absl::Status status = TensorFile::Open(Golden(name)).status();
    EXPECT_FALSE(status.ok()) << name;
    for (const std::string& part : {Golden(name).string(), std::string(reason)}) {
      EXPECT_NE(StatusMessage(status).find(part), std::string_view::npos) << part << ": " << status;
    }
  }
  ExpectRefused("import torch", {"no PyTorch archive"});
  ExpectRefused(testing::ZipWriter().Add("a/x", "").Bytes(), {"no data.pkl"});
  ExpectRefused(testing::ZipWriter().Add("a/data.pkl", "").Add("b/data.pkl", "").Bytes(),
                {"a/data.pkl", "b/data.pkl"});
  testing::ZipWriter big = TorchArchive("}", "");
  big.entries[1].content = "big";
  ExpectRefused(big.Bytes(), {"big-endian"});
  testing::ZipWriter compressed = TorchArchive("}", "");
  compressed.entries[0].method = 8;
  ExpectRefused(compressed.Bytes(), {"archive/data.pkl is compressed"});
}

TEST(TorchArchiveTest, AWindowMustLieInItsStorage) {
  const auto accepted = [](const PickledTensor& tensor) {
    return ReadTorchArchive(OneTensor(tensor)).ok();
  };
  EXPECT_TRUE(accepted({.elements = 6, .sizes = {2, 3}, .strides = {3, 1}}));
  EXPECT_TRUE(accepted({.elements = 6, .offset = 5, .sizes = {1}, .strides = {99}}));
  EXPECT_TRUE(accepted({.elements = 6, .offset = 6, .sizes = {0, 9}, .strides = {INT64_MAX, 1}}));
  EXPECT_TRUE(accepted({.type = "BoolStorage", .elements = 24, .sizes = {24}, .strides = {1}}));
  constexpr int64_t kHuge = int64_t{1} << 62;
  const PickledTensor refused[] = {
      {.elements = 7, .sizes = {1}, .strides = {1}},
      {.elements = -1, .sizes = {1}, .strides = {1}},
      {.elements = kHuge, .sizes = {1}, .strides = {1}},
      {.type = "DoubleStorage", .elements = 4, .sizes = {1}, .strides = {1}},
      {.key = "1", .elements = 6, .sizes = {1}, .strides = {1}},
      {.key = "../version", .elements = 0, .sizes = {0}, .strides = {1}},
      {.key = std::string(100'000, 'k'), .elements = 6, .sizes = {1}, .strides = {1}},
      {.elements = 6, .offset = -1, .sizes = {1}, .strides = {1}},
      {.elements = 6, .offset = 7, .sizes = {0}, .strides = {1}},
      {.elements = 6, .offset = 6, .sizes = {1}, .strides = {1}},
      {.elements = 6, .offset = INT64_MAX, .sizes = {1}, .strides = {1}},
      {.elements = 6, .sizes = {7}, .strides = {1}},
      {.elements = 6, .sizes = {-1}, .strides = {1}},
      {.elements = 6, .sizes = {2}, .strides = {-1}},
      {.elements = 6, .sizes = {2}, .strides = {6}},
      {.elements = 6, .sizes = {2, 3}, .strides = {4, 1}},
      {.elements = 6, .sizes = {2, 3}, .strides = {3}},
      {.elements = 6, .sizes = {1000}, .strides = {0}},
      {.elements = 6, .sizes = {kHuge, 4}, .strides = {0, 0}},
      {.elements = 6, .sizes = {3, 3}, .strides = {kHuge, kHuge}},
      {.elements = 6, .sizes = {5}, .strides = {kHuge}},
      {.elements = 6, .sizes = std::vector<int64_t>(9, 1), .strides = std::vector<int64_t>(9, 1)},
  };
  for (const PickledTensor& tensor : refused) {
    SCOPED_TRACE(testing::PickleInts(tensor.sizes).size());
    const absl::Status status = ReadTorchArchive(OneTensor(tensor)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(StatusMessage(status).find("tensor \"t\": archive/data.pkl: byte "),
              std::string_view::npos)
        << status;
    EXPECT_LT(StatusMessage(status).size(), 400u);
  }
}

TEST(TorchArchiveTest, WhatIsNoDictOfTensorsIsRefused) {
  const std::string tensor = PickledTensor{.elements = 1, .sizes = {1}, .strides = {1}}.Text();
  const auto refused = [](const std::string& value, const std::string& named) {
    ExpectRefused(TorchArchive(value, std::string(4, 'x')).Bytes(), {"byte ", named});
  };
  refused("N", "no dict of tensors");
  refused(tensor, "no dict of tensors");
  refused(PickleDict({")", tensor}), "neither a string nor an integer");
  refused(PickleDict({PickleText("t"), tensor, PickleText("t"), tensor}), "\"t\" is there twice");
  refused(PickleDict({PickleText(std::string(513, 'n')), tensor}), "a name of 513 bytes");
  const std::string rebuild = PickleGlobal("torch._utils", "_rebuild_tensor_v2");
  const std::string parameter = PickleGlobal("torch._utils", "_rebuild_parameter");
  for (const std::string& value :
       {rebuild + ")R", rebuild + "(NNNNNNtR", parameter + ")R", parameter + "(NNNtR",
        parameter + "(" + parameter + "(NNNtR" + "NNtR",
        PickleGlobal("torch", "FloatStorage") + ")R",
        rebuild + "(" + PickleText("storage") + "QNNNNNtR", rebuild + "()QNNNNNtR"}) {
    refused(PickleDict({PickleText("t"), value}), "tensor \"t\"");
  }
}

TEST(TorchArchiveTest, DictsInDictsAreBounded) {
  std::string self = "}q\1" + PickleText("again") + "h\1s";
  ExpectRefused(TorchArchive(self, "").Bytes(), {"nested too deep"});
  // Thirty levels, each holding the one below twice.
  std::string doubled = "]q" + std::string(1, '\0');
  for (int i = 0; i < 29; ++i) {
    const std::string below(1, static_cast<char>(i));
    doubled += "]q" + std::string(1, static_cast<char>(i + 1)) + "(h" + below + "h" + below + "e";
  }
  std::string lists = "}" + PickleText("bomb") + "(" + doubled + "ts";
  ExpectRefused(TorchArchive(lists, "").Bytes(), {"more than 262144 values"});
}

TEST(TorchArchiveTest, AnArchiveCutAnywhereIsRefused) {
  const std::string whole = OneTensor({.elements = 6, .sizes = {2, 3}, .strides = {1, 2}});
  ASSERT_TRUE(ReadTorchArchive(whole).ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_FALSE(ReadTorchArchive(std::string_view(whole).substr(0, size)).ok()) << size;
  }
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const int value : {0, 1, 0x7f, 0x80, 0xff, 0x2e, 0x52, 0x28}) {
      std::string changed = whole;
      changed[at] = static_cast<char>(value);
      const auto tensors = ReadTorchArchive(changed);
      if (!tensors.ok()) continue;
      for (const auto& [name, tensor] : *tensors) {  // reading stays in the file
        const char* data = static_cast<const char*>(tensor.data);
        ASSERT_GE(data, changed.data());
        ASSERT_LE(data + tensor.bytes, changed.data() + changed.size());
        if (IsFloat(tensor)) Values(tensor);
      }
    }
  }
}

}  // namespace
}  // namespace tessera
