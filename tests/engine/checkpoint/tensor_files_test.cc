// Which files of a directory are read, and PyTorch's among them through a Checkpoint.
#include "engine/checkpoint/tensor_files.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/to_floats.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"
#include "tests/testing/torch_archive_writer.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using testing::PickledTensor;
using testing::WriteFile;

class TensorFilesTest : public ::testing::Test {
 protected:
  std::filesystem::path Path(const std::string& name) const { return directory_.path() / name; }
  void Touch(const std::string& name) const { WriteFile(Path(name), "{\"weight_map\":{}}"); }
  // The names of the files found, the index first.
  std::vector<std::string> Find() const {
    const auto found = FindTensorFiles(directory_.path());
    EXPECT_TRUE(found.ok()) << found.status();
    std::vector<std::string> names;
    if (!found->index.empty()) names.push_back(found->index.filename().string());
    for (const auto& file : found->files) names.push_back(file.filename().string());
    return names;
  }
  // One tensor [2, 2] of 1 to 4, transposed.
  void WriteArchive(const std::string& file, const std::string& tensor) const {
    const PickledTensor window{.elements = 4, .sizes = {2, 2}, .strides = {1, 2}};
    const float values[] = {1, 2, 3, 4};
    const std::string bytes(reinterpret_cast<const char*>(values), sizeof(values));
    WriteFile(Path(file),
              testing::TorchArchive(
                  testing::PickleDict({testing::PickleText(tensor), window.Text()}), bytes)
                  .Bytes());
  }

  testing::TemporaryDirectory directory_;
};

TEST_F(TensorFilesTest, TheFirstOfTheKnownNamesCounts) {
  using Names = std::vector<std::string>;
  Touch("mm_projector.bin");
  Touch("training_args.bin");
  const absl::Status none = FindTensorFiles(directory_.path()).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(StatusMessage(none).find(directory_.path().string()), std::string_view::npos);
  Touch("one.pt");
  EXPECT_EQ(Find(), Names{"one.pt"});
  Touch("two.pt");
  const absl::Status two = FindTensorFiles(directory_.path()).status();
  EXPECT_NE(StatusMessage(two).find("one.pt or two.pt"), std::string_view::npos) << two;
  Touch("adapter_model.bin");
  EXPECT_EQ(Find(), Names{"adapter_model.bin"});
  Touch("adapter_model.safetensors");
  EXPECT_EQ(Find(), Names{"adapter_model.safetensors"});
  Touch("pytorch_model-00001-of-00002.bin");
  EXPECT_EQ(Find(),
            (Names{"pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"}));
  Touch("pytorch_model.bin.index.json");
  EXPECT_EQ(Find(), Names{"pytorch_model.bin.index.json"});
  Touch("pytorch_model.bin");
  EXPECT_EQ(Find(), Names{"pytorch_model.bin"});
  Touch("model-00001-of-0000x.safetensors");
  EXPECT_EQ(Find(), Names{"pytorch_model.bin"});
  Touch("model-00001-of-00001.safetensors");
  EXPECT_EQ(Find(), Names{"model-00001-of-00001.safetensors"});
  Touch("model.safetensors.index.json");
  EXPECT_EQ(Find(), Names{"model.safetensors.index.json"});
  Touch("model.safetensors");
  EXPECT_EQ(Find(), Names{"model.safetensors"});
  EXPECT_EQ(FindTensorFiles(Path("two.pt"))->files[0], Path("two.pt")) << "a file is itself";
}

TEST_F(TensorFilesTest, AStaleIndexIsPassedOver) {
  constexpr char kIndex[] = R"({"weight_map":{"a":"model-00001-of-00002.safetensors",
                                              "b":"model-00002-of-00002.safetensors"}})";
  const fs::path index = Path("model.safetensors.index.json");
  WriteFile(index, kIndex);
  const absl::Status alone = Checkpoint::Open({{directory_.path()}}).status();
  EXPECT_NE(
      StatusMessage(alone).find("model-00001-of-00002.safetensors is not there; it would hold "
                                "tensors that " +
                                index.string()),
      std::string::npos)
      << alone;
  for (const char* whole : {"pytorch_model.bin", "model.safetensors"}) {
    Touch(whole);
    const auto found = FindTensorFiles(directory_.path());
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->files, std::vector{Path(whole)});
    EXPECT_TRUE(found->promised.empty());
    EXPECT_EQ(
        found->warnings,
        std::vector{index.string() + " names files that are not there: " + whole + " is read"});
  }
  Touch("model-00002-of-00002.safetensors");
  EXPECT_EQ(FindTensorFiles(directory_.path())->files[0], Path("model.safetensors")) << "some are";
  fs::remove(Path("model.safetensors"));
  EXPECT_EQ(FindTensorFiles(directory_.path())->files.size(), 2u) << "a download that is not done";
}

TEST_F(TensorFilesTest, TheWholeFileIsReadBesideAnyIndex) {
  const fs::path index = Path("model.safetensors.index.json");
  const fs::path whole = Path("model.safetensors");
  Touch("model.safetensors");
  const auto warning = [&](const std::string& text) {
    WriteFile(index, text);
    const auto found = FindTensorFiles(directory_.path());
    EXPECT_TRUE(found.ok() && found->files == std::vector{whole} && found->promised.empty());
    return found.ok() && !found->warnings.empty() ? found->warnings[0] : "";
  };
  Touch("model-00001-of-00001.safetensors");
  EXPECT_NE(warning(R"({"weight_map":{"a":"model-00001-of-00001.safetensors"}})")
                .find("names other files: model.safetensors is read, as transformers does"),
            std::string::npos);
  EXPECT_EQ(warning(R"({"weight_map":{"a":"model.safetensors"}})"), "");
  EXPECT_NE(warning("[").find("not valid JSON at byte 2: model.safetensors is read"),
            std::string::npos);
}

TEST_F(TensorFilesTest, ANumberedShardThatIsMissingIsNamed) {
  Touch("model-00002-of-00002.safetensors");
  const absl::Status status = Checkpoint::Open({{directory_.path()}}).status();
  EXPECT_NE(StatusMessage(status).find("model-00001-of-00002.safetensors is not there"),
            std::string::npos)
      << status;
}

TEST_F(TensorFilesTest, WindowsOfArchivesAreTakenRowMajor) {
  WriteArchive("pytorch_model-00001-of-00002.bin", "a");
  WriteArchive("pytorch_model-00002-of-00002.bin", "b");
  const auto checkpoint = Checkpoint::Open({{.path = directory_.path()}});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  for (const char* name : {"a", "b"}) {
    const auto tensor = (*checkpoint)->Take(name, {2, 2});
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_EQ(ToFloats(*tensor), (std::vector<float>{1, 3, 2, 4}));
    (*checkpoint)->Release(*tensor);
  }
  std::filesystem::remove(Path("pytorch_model-00002-of-00002.bin"));
  const absl::Status cut = Checkpoint::Open({{.path = directory_.path()}}).status();
  EXPECT_EQ(cut.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(StatusMessage(cut).find("pytorch_model-00002-of-00002.bin"), std::string_view::npos);
}

TEST_F(TensorFilesTest, ArchivesHaveAnIndexToo) {
  WriteArchive("x.bin", "a");
  WriteFile(Path("pytorch_model.bin.index.json"), R"({"weight_map":{"a":"x.bin"}})");
  EXPECT_TRUE(Checkpoint::Open({{.path = directory_.path()}}).ok());
  WriteFile(Path("pytorch_model.bin.index.json"), R"({"weight_map":{"a":"x.bin","b":"x.bin"}})");
  const absl::Status status = Checkpoint::Open({{.path = directory_.path()}}).status();
  EXPECT_NE(StatusMessage(status).find("\"b\" is not in x.bin"), std::string_view::npos) << status;
}

}  // namespace
}  // namespace tessera
