// Flags that are more than a number.
#include "client/flags.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(ParseTimeout, TakesUnitsAndBareSeconds) {
  EXPECT_EQ(*ParseTimeout("30s"), absl::Seconds(30));
  EXPECT_EQ(*ParseTimeout("500ms"), absl::Milliseconds(500));
  EXPECT_EQ(*ParseTimeout("1m30s"), absl::Seconds(90));
  EXPECT_EQ(*ParseTimeout("2.5"), absl::Milliseconds(2500));
  EXPECT_EQ(*ParseTimeout("0"), absl::InfiniteDuration());
  for (const char* bad : {"", "soon", "-1s", "-5", "3 weeks"}) {
    EXPECT_EQ(ParseTimeout(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(CompletePrompt, WantsOneInput) {
  PromptSource source;
  source.question.emplace("Why?");
  EXPECT_TRUE(CompletePrompt(&source).ok());
  source.raw.emplace("USER: Why?");
  EXPECT_EQ(CompletePrompt(&source).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tessera
