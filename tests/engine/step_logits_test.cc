// Which rows of a step's logits reach the host, and that they are the right ones.
#include "engine/step_logits.h"

#include <gtest/gtest.h>

#include "engine/cpu/cpu_backend.h"

namespace tessera {
namespace {

TEST(StepLogitsTest, RowsAreWholeWhereAskedForAndAlwaysTellTheirLargest) {
  const auto backend = MakeCpuBackend({}).value();
  const std::vector<float> logits = {0, 4, 1, 9,   //
                                     7, 2, 3, 9,   //
                                     1, 1, 8, 9};  // the last column is padding
  for (const std::vector<bool>& whole :
       {std::vector<bool>{false, false, false}, {true, true, true}, {false, true, false},
        {true, false, true}}) {
    const StepLogits step(*backend, backend->Upload(logits, {3, 4}), 3, whole);
    const int32_t places[] = {1, 0, 2};
    for (size_t row = 0; row < 3; ++row) {
      EXPECT_EQ(step.largest(row), places[row]);
      EXPECT_EQ(step.largest_value(row), logits[row * 4 + places[row]]);
      if (!whole[row]) continue;
      const auto values = step.row(row);
      EXPECT_EQ(std::vector<float>(values.begin(), values.end()),
                std::vector<float>(logits.begin() + row * 4, logits.begin() + row * 4 + 3));
    }
  }
}

}  // namespace
}  // namespace tessera
