// Files that change while they are mapped.
#include "engine/base/mapped_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <csignal>
#include <fstream>
#include <numeric>

#include "engine/base/status.h"
#include "engine/cpu/make_cpu_backend.h"
#include "engine/load/loaded_model.h"
#include "tests/testing/data_path.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

class MappedFileTest : public ::testing::Test {
 protected:
  // Processes that begin anew: one that is forked has lost OpenMP's threads.
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  void TearDown() override { GTEST_FLAG_SET(death_test_style, "fast"); }
  fs::path Path(const std::string& name) const { return directory_.path() / name; }
  testing::TemporaryDirectory directory_;
};

int Sum(const MappedFile& file) {
  return std::accumulate(file.bytes().begin(), file.bytes().end(), 0);
}

TEST_F(MappedFileTest, AFileThatIsCutWhileItIsReadIsNamed) {
  testing::WriteFile(Path("a"), std::string(100000, 'a'));
  testing::WriteFile(Path("b"), std::string(100000, 'b'));
  testing::WriteFile(Path("c"), std::string(100000, 'c'));
  const auto read = [&] {
    const auto a = MappedFile::Open(Path("a")).value();
    const auto b = MappedFile::Open(Path("b")).value();
    MappedFile::Open(Path("c")).value().reset();
    fs::resize_file(Path("b"), 5000);
    const int sum = Sum(*a) + Sum(*b);
    std::exit(sum == 0 ? 3 : 2);
  };
  EXPECT_EXIT(read(), ::testing::ExitedWithCode(1),
              "/b: has changed while it was read: 100000 bytes have become 5000; start again");
}

// SIGBUS of other memory still does what it did.
TEST_F(MappedFileTest, OtherBusErrorsEndTheProcessAsEver) {
  testing::WriteFile(Path("a"), "a");
  testing::WriteFile(Path("b"), std::string(100000, 'b'));
  const auto read = [&] {
    const auto a = MappedFile::Open(Path("a")).value();
    const int file = open(Path("b").c_str(), O_RDONLY);
    const auto* foreign =
        static_cast<const char*>(mmap(nullptr, 100000, PROT_READ, MAP_PRIVATE, file, 0));
    fs::resize_file(Path("b"), 0);
    std::exit(foreign[0] == 0 ? 2 : 3);
  };
#ifdef __SANITIZE_ADDRESS__
  EXPECT_EXIT(read(), ::testing::ExitedWithCode(1), "AddressSanitizer: BUS");
#else
  EXPECT_EXIT(read(), ::testing::KilledBySignal(SIGBUS), "^$");
#endif
}

TEST_F(MappedFileTest, AFileThatIsWrittenToIsNotWhatWasOpened) {
  testing::WriteFile(Path("a"), std::string(100, 'a'));
  const auto file = MappedFile::Open(Path("a")).value();
  EXPECT_TRUE(file->CheckUnchanged().ok());
  fs::last_write_time(Path("a"), fs::last_write_time(Path("a")) + std::chrono::seconds(1));
  const absl::Status changed = file->CheckUnchanged();
  EXPECT_EQ(changed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(StatusMessage(changed).find("/a: has changed while it was read"), std::string::npos);
  const auto longer = MappedFile::Open(Path("a")).value();
  std::ofstream(Path("a"), std::ios::app) << "b";
  EXPECT_FALSE(longer->CheckUnchanged().ok());
}

// A whole model, cut to `left` of its bytes when the first of its tensors has been loaded.
class CutModelTest : public MappedFileTest {
 protected:
  absl::Status Load(double left) {
    fs::copy(testing::DataPath("golden/models/qwen3_moe/model"), Path("model"));
    const fs::path weights = Path("model") / "model.safetensors";
    fs::permissions(weights, fs::perms::all);
    bool cut = false;
    const auto progress = [&](int64_t, int64_t) {
      if (cut) return;
      cut = true;
      fs::resize_file(weights,
                      static_cast<uintmax_t>(static_cast<double>(fs::file_size(weights)) * left));
    };
    const auto backend = MakeCpuBackend({}).value();
    ModelOptions options;
    options.model_dir = Path("model");
    return LoadModel(*backend, options, progress).status();
  }
};

TEST_F(CutModelTest, LoadingEndsWithTheFilesName) {
  const auto load = [&] {
    Load(0.3).IgnoreError();
    std::exit(2);
  };
  EXPECT_EXIT(load(), ::testing::ExitedWithCode(1),
              "model.safetensors: has changed while it was read");
}

// What is cut off the last page reads as zeros, without any signal.
TEST_F(CutModelTest, NoZerosStandInForWhatIsGone) {
  const absl::Status status = Load(0.99999);
  EXPECT_NE(StatusMessage(status).find("model.safetensors: has changed while it was read"),
            std::string::npos)
      << status;
}

}  // namespace
}  // namespace tessera
