#include "engine/load/model_name.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(ModelNameTest, ADirectorysOrARepositorys) {
  EXPECT_EQ(DefaultModelName("/models/tiny"), "tiny");
  EXPECT_EQ(DefaultModelName("/models/tiny/"), "tiny");
  EXPECT_EQ(DefaultModelName("tiny/."), "tiny");
  EXPECT_EQ(DefaultModelName("/c/models--Qwen--Qwen3-VL-30B-A3B-Instruct/snapshots/9c4b90e"),
            "Qwen/Qwen3-VL-30B-A3B-Instruct");
  EXPECT_EQ(DefaultModelName("/c/models--Qwen--Qwen3-VL/snapshots/9c4b90e/"), "Qwen/Qwen3-VL");
  EXPECT_EQ(DefaultModelName("/c/models--gpt2/snapshots/607a30d"), "gpt2");
  EXPECT_EQ(DefaultModelName("/c/models--/snapshots/607a30d"), "607a30d");
  EXPECT_EQ(DefaultModelName("/c/datasets--a--b/snapshots/607a30d"), "607a30d");
  EXPECT_EQ(DefaultModelName("/c/models--a--b/607a30d"), "607a30d");
}

// Metrics and proto strings can only hold UTF-8.
TEST(ModelNameTest, WhatAFolderMayBeCalledAndALabelMayNot) {
  EXPECT_EQ(DefaultModelName("/models/a\xff\n"), "a\\xff\\u{a}");
}

}  // namespace
}  // namespace tessera
