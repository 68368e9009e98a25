// Status → exit code and error lines.
#include "client/exit_code.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(ExitCode, FollowsTheStatus) {
  using absl::StatusCode;
  const std::vector<std::pair<StatusCode, int>> expected = {{StatusCode::kOk, 0},
                                                            {StatusCode::kUnavailable, 3},
                                                            {StatusCode::kInvalidArgument, 4},
                                                            {StatusCode::kNotFound, 4},
                                                            {StatusCode::kResourceExhausted, 4},
                                                            {StatusCode::kUnauthenticated, 4},
                                                            {StatusCode::kPermissionDenied, 4},
                                                            {StatusCode::kFailedPrecondition, 4},
                                                            {StatusCode::kUnimplemented, 4},
                                                            {StatusCode::kInternal, 5},
                                                            {StatusCode::kUnknown, 5},
                                                            {StatusCode::kDataLoss, 5},
                                                            {StatusCode::kDeadlineExceeded, 124},
                                                            {StatusCode::kCancelled, 130}};
  for (const auto& [code, exit_code] : expected) {
    EXPECT_EQ(static_cast<int>(ExitCodeOf(absl::Status(code, ""))), exit_code)
        << absl::StatusCodeToString(code);
  }
}

TEST(DescribeError, IsOneHarmlessLine) {
  EXPECT_EQ(DescribeError(absl::InvalidArgumentError("a\nb\x1b[2J")), "error: a b[2J\n");
}

}  // namespace
}  // namespace tessera
