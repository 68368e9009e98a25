// Limits of control groups as the kernel tells them, in directories that look like its own.
#include "engine/base/control_group.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "engine/base/processors.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

class ControlGroupTest : public ::testing::Test {
 protected:
  ControlGroupTest() { fs::remove_all(root_); }
  ~ControlGroupTest() override { fs::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text << '\n';
  }
  double Cpus() const { return ControlGroupCpus(root_).value_or(-1); }
  int64_t Memory() const { return ControlGroupMemoryBytes(root_).value_or(-1); }

  const fs::path root_ =
      fs::path(::testing::TempDir()) / ("control-group-" + std::to_string(getpid()));
};

TEST_F(ControlGroupTest, NothingThereIsNoLimit) {
  EXPECT_EQ(Cpus(), -1);
  EXPECT_EQ(Memory(), -1);
  Write("proc/self/cgroup", "nonsense\n0:\n:");
  EXPECT_EQ(Cpus(), -1);
}

TEST_F(ControlGroupTest, Version2InAContainer) {
  Write("proc/self/cgroup", "0::/");
  Write("sys/fs/cgroup/cpu.max", "150000 100000");
  Write("sys/fs/cgroup/memory.max", "1073741824");
  EXPECT_EQ(Cpus(), 1.5);
  EXPECT_EQ(Memory(), 1 << 30);
  Write("sys/fs/cgroup/cpu.max", "max 100000");
  Write("sys/fs/cgroup/memory.max", "max");
  EXPECT_EQ(Cpus(), -1);
  EXPECT_EQ(Memory(), -1);
}

TEST_F(ControlGroupTest, TheTightestOfNestedGroupsCounts) {
  Write("proc/self/cgroup", "0::/system.slice/tessera.service/worker");
  Write("sys/fs/cgroup/system.slice/cpu.max", "400000 100000");
  Write("sys/fs/cgroup/system.slice/tessera.service/cpu.max", "50000 20000");
  Write("sys/fs/cgroup/system.slice/tessera.service/worker/cpu.max", "max 100000");
  Write("sys/fs/cgroup/system.slice/memory.max", "4096");
  Write("sys/fs/cgroup/system.slice/tessera.service/worker/memory.max", "8192");
  EXPECT_EQ(Cpus(), 2.5);
  EXPECT_EQ(Memory(), 4096);
}

TEST_F(ControlGroupTest, AGroupOfAnotherNamespaceIsReadAtTheMount) {
  Write("proc/self/cgroup", "0::/../../outside");
  Write("sys/fs/cgroup/cpu.max", "300000 100000");
  EXPECT_EQ(Cpus(), 3);
}

TEST_F(ControlGroupTest, Version1) {
  Write("proc/self/cgroup", "7:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/x");
  // As on a host, where the whole hierarchy is mounted.
  Write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1");
  Write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000");
  Write("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "200000");
  Write("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000");
  Write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "25000");
  Write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "50000");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(Cpus(), 0.5);
  EXPECT_EQ(Memory(), -1);
}

TEST_F(ControlGroupTest, Version1InAContainerSeesItsOwnGroupAsTheMount) {
  Write("proc/self/cgroup", "4:cpuacct,cpu:/docker/abc\n3:memory:/docker/abc\n0::/docker/abc");
  Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "125000");
  Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "65536");
  EXPECT_EQ(Cpus(), 1.25);
  EXPECT_EQ(Memory(), 65536);
}

TEST(ProcessorsTest, ThreadsAreTheSmallerOfAffinityAndQuota) {
  EXPECT_EQ((Processors{4, {}}).threads(), 4);
  EXPECT_EQ((Processors{4, 1.5}).threads(), 2);
  EXPECT_EQ((Processors{4, 2.0}).threads(), 2);
  EXPECT_EQ((Processors{4, 0.05}).threads(), 1);
  EXPECT_EQ((Processors{4, 64.0}).threads(), 4);
  EXPECT_EQ((Processors{4, 1.5}).Describe(),
            "threads: 2 of 4 processors, the control group allows 1.5");
  EXPECT_EQ((Processors{4, {}}).Describe(), "threads: 4 of 4 processors");
}

}  // namespace
}  // namespace tessera
