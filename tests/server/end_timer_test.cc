#include "server/end_timer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

namespace tessera {
namespace {

TEST(EndTimerDeathTest, EndsAProcessThatIsHeldUp) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const EndTimer timer(std::chrono::milliseconds(1));
        std::this_thread::sleep_for(std::chrono::minutes(1));
        std::exit(0);
      },
      ::testing::ExitedWithCode(1), "");
}

TEST(EndTimerTest, DoesNothingToOneThatEnds) {
  for (int i = 0; i < 100; ++i) const EndTimer timer{std::chrono::hours(1)};
}

}  // namespace
}  // namespace tessera
