#include "engine/base/presence.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <iostream>

#include "engine/base/status.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

class PresenceTest : public ::testing::Test {
 protected:
  fs::path Path(const std::string& name) const { return directory_.path() / name; }
  static bool Says(const absl::Status& status, const std::string& part) {
    return StatusMessage(status).find(part) != std::string_view::npos;
  }
  testing::TemporaryDirectory directory_;
};

TEST_F(PresenceTest, WhatCannotBeReachedIsNotAbsent) {
  testing::WriteFile(Path("file"), "x");
  EXPECT_TRUE(*IsThere(Path("file")));
  EXPECT_FALSE(*IsThere(Path("none")));
  EXPECT_FALSE(*IsThere(Path("file") / "below"));
  fs::create_symlink(Path("loop"), Path("loop"));
  const absl::Status loop = IsThere(Path("loop") / "config.json").status();
  EXPECT_EQ(loop.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Says(loop, "loop/config.json: cannot be reached: Too many levels of symbolic"))
      << loop;
  fs::create_symlink("../blobs/abc", Path("dangling"));
  const absl::Status dangling = IsThere(Path("dangling")).status();
  EXPECT_TRUE(Says(dangling, "dangling: is a symbolic link to ../blobs/abc, which is not there"))
      << dangling;
}

TEST_F(PresenceTest, ADirectoryIsOneThatCanBeListed) {
  EXPECT_TRUE(CheckDirectory(directory_.path()).ok());
  testing::WriteFile(Path("file"), "x");
  EXPECT_TRUE(Says(CheckDirectory(Path("file")), "is no directory"));
  EXPECT_EQ(CheckDirectory(Path("none")).code(), absl::StatusCode::kNotFound);
  fs::create_symlink(Path("loop"), Path("loop"));
  EXPECT_TRUE(Says(CheckDirectory(Path("loop")), "symbolic"));
}

// In a process of its own, since root may enter every directory.
TEST_F(PresenceTest, WhatMayNotBeEnteredSaysSo) {
  const fs::path locked = Path("locked");
  fs::create_directory(locked);
  testing::WriteFile(locked / "config.json", "{}");
  fs::permissions(directory_.path(), fs::perms::all);
  fs::permissions(locked, fs::perms::none);
  const auto tell = [&] {
    if (geteuid() == 0 && seteuid(65534) != 0) _exit(2);
    std::cerr << IsThere(locked / "config.json").status() << CheckDirectory(locked);
    _exit(0);  // without the check for leaks of the asan preset, which this user may not do
  };
  EXPECT_EXIT(tell(), ::testing::ExitedWithCode(0),
              "PERMISSION_DENIED: .*config.json: cannot be reached: Permission denied.*"
              "PERMISSION_DENIED: .*locked: cannot be reached");
  fs::permissions(locked, fs::perms::all);
}

}  // namespace
}  // namespace tessera
