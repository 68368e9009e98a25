// What the kernel's control groups, such as a container's, let this process use (cgroups(7)):
// versions 1 and 2, and the groups around its own. Tests: tests/engine/base/control_group_test.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace tessera {

// Processors that the quotas of time come to, e.g. 1.5; unset: no quota. `root` is the directory
// that holds proc and sys.
std::optional<double> ControlGroupCpus(const std::filesystem::path& root = "/");
// Bytes of the tightest limit of memory; unset: no limit.
std::optional<int64_t> ControlGroupMemoryBytes(const std::filesystem::path& root = "/");

}  // namespace tessera
