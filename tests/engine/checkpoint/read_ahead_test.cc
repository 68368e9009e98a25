#include "engine/checkpoint/read_ahead.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>

namespace tessera {
namespace {

class ReadAheadTest : public ::testing::Test {
 protected:
  ReadAheadTest() { std::ofstream(path_) << "not a failed download"; }
  ~ReadAheadTest() override { std::filesystem::remove(path_); }

  // A file with little in memory: a hole behind its beginning.
  std::unique_ptr<MappedFile> Hole(uintmax_t size) {
    std::filesystem::resize_file(path_, size);
    return *MappedFile::Open(path_);
  }

  const std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("read_ahead_test." + std::to_string(getpid()));
};

int64_t ResidentPages(const MappedFile& file) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> resident(file.bytes().size() / page);
  mincore(const_cast<char*>(file.bytes().data()), file.bytes().size(), resident.data());
  return std::count_if(resident.begin(), resident.end(), [](unsigned char in) { return in & 1; });
}

TEST_F(ReadAheadTest, BringsAWholeFileToMemory) {
  const std::unique_ptr<MappedFile> file = Hole(16 << 20);
  const int64_t pages = (16 << 20) / sysconf(_SC_PAGESIZE);
  ASSERT_LT(ResidentPages(*file), pages);
  const ReadAhead read_ahead({file.get()});
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (ResidentPages(*file) < pages && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(ResidentPages(*file), pages);
}

TEST_F(ReadAheadTest, EndsWhileItWaitsForTheLoader) {
  const std::unique_ptr<MappedFile> file = Hole(uintmax_t{64} << 30);  // more than it reads ahead
  ReadAhead read_ahead({file.get(), file.get()});
  read_ahead.Used(1);
}

}  // namespace
}  // namespace tessera
