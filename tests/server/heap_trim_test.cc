#include "server/heap_trim.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "tests/server/server_fixture.h"

namespace tessera::testing {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

TEST(TrimRuleTest, TrimsTwiceAfterMuchWasFreedAndThenNoMore) {
  TrimRule rule;
  EXPECT_FALSE(rule.IsWorthIt(0, 0));
  EXPECT_FALSE(rule.IsWorthIt(300 * kMiB, 300 * kMiB)) << "all of it is held";
  EXPECT_FALSE(rule.IsWorthIt(300 * kMiB, 100 * kMiB)) << "a third is held";
  EXPECT_TRUE(rule.IsWorthIt(100 * kMiB, 10 * kMiB));
  EXPECT_TRUE(rule.IsWorthIt(10 * kMiB, 0));
  EXPECT_FALSE(rule.IsWorthIt(0, 0));
  EXPECT_FALSE(rule.IsWorthIt(60 * kMiB, 0)) << "too little";
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t pages = 0;
  int64_t resident = 0;
  file >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

class HeapTrimTest : public ServerFixture {};

// Pieces as small as gRPC's, between others that stay: the allocator keeps such holes for itself.
TEST_F(HeapTrimTest, MemoryThatRequestsHeldGoesBackToTheSystem) {
  StartServer();
  constexpr size_t kPiece = 8 << 10;
  std::vector<std::unique_ptr<char[]>> held;
  std::vector<std::unique_ptr<char[]>> kept;
  const int64_t before = ResidentBytes();
  {
    const auto charge = engine_->memory().Charge(MemoryUse::kRequests, 200 * kMiB);
    ASSERT_TRUE(charge.ok()) << charge.status();
    for (int64_t bytes = 0; bytes < 200 * kMiB; bytes += kPiece) {
      held.push_back(std::make_unique<char[]>(kPiece));
      std::memset(held.back().get(), 1, kPiece);
      kept.push_back(std::make_unique<char[]>(64));
    }
    held.clear();
  }
  const auto until = Clock::now() + std::chrono::seconds(10);
  while (ResidentBytes() > before + 100 * kMiB && Clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_LT(ResidentBytes(), before + 100 * kMiB);
}

}  // namespace
}  // namespace tessera::testing
