#include "engine/schedule/row_limits.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"

namespace tessera {
namespace {

TEST(RowLimitsTest, WhatNeverFitsIsRefusedWithTheFieldAtFault) {
  const struct {
    RowLimits limits;
    int64_t rows;
    int32_t max_tokens;
    int32_t most;  // 0: refused
    const char* reason = "";
    const char* field = "";
  } cases[] = {
      {{100, 100}, 60, 40, 100},
      {{100, 100}, 60, 41, 0, "CONTEXT_LENGTH_EXCEEDED", "sampling.max_tokens"},
      {{100, 100}, 100, 0, 0, "CONTEXT_LENGTH_EXCEEDED", "input"},
      {{100, 100}, 99, 0, 100},
      {{100, 63}, 60, 4, 64},
      {{100, 63}, 60, 0, 64},
      {{100, 63}, 60, 5, 0, "KV_CAPACITY_EXCEEDED", "input"},
  };
  for (const auto& test : cases) {
    const auto rows = test.limits.MaxRows(test.rows, test.max_tokens);
    EXPECT_EQ(rows.ok() ? *rows : 0, test.most) << rows.status();
    if (rows.ok()) continue;
    EXPECT_EQ(StatusReason(rows.status()), test.reason);
    EXPECT_EQ(StatusField(rows.status()), test.field);
  }
}

}  // namespace
}  // namespace tessera
