#include "engine/base/control_group.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace tessera {
namespace {

namespace fs = std::filesystem;

// A controller's directories, from our group outwards; those that are not there belong to a
// hierarchy that is mounted from our group on.
struct Groups {
  bool version2 = false;
  std::vector<fs::path> dirs;
};

std::vector<fs::path> Outwards(const fs::path& mount, const std::string& group) {
  std::vector<fs::path> dirs;
  fs::path inner = fs::path(group).lexically_normal().relative_path();
  if (inner.string().starts_with("..")) inner.clear();  // outside of what this process may see
  for (; !inner.empty(); inner = inner.parent_path()) dirs.push_back(mount / inner);
  dirs.push_back(mount);
  return dirs;
}

bool Names(const std::string& controllers, const std::string& controller) {
  std::istringstream list(controllers);
  for (std::string one; std::getline(list, one, ',');) {
    if (one == controller) return true;
  }
  return false;
}

// Lines of /proc/self/cgroup are "ID:CONTROLLERS:GROUP", those of version 2 "0::GROUP".
std::vector<Groups> FindGroups(const fs::path& root, const std::string& controller) {
  std::vector<Groups> found;
  const fs::path mounts = root / "sys/fs/cgroup";
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) {
      found.push_back({true, Outwards(mounts, group)});
    } else if (Names(controllers, controller)) {
      found.push_back({false, Outwards(mounts / controllers, group)});
      found.push_back({false, Outwards(mounts / controller, group)});
    }
  }
  return found;
}

// The first word of a file as a number; unset for "max" and for a file that is not there.
std::optional<double> ReadNumber(const fs::path& path) {
  std::ifstream file(path);
  double number = 0;
  return file >> number ? std::optional(number) : std::nullopt;
}

// Version 2: "QUOTA PERIOD", QUOTA may be "max"; version 1: a file for each, -1 is no quota.
std::optional<double> ReadCpus(const fs::path& dir, bool version2) {
  std::optional<double> quota;
  std::optional<double> period;
  if (version2) {
    std::ifstream file(dir / "cpu.max");
    double numbers[2];
    if (file >> numbers[0] >> numbers[1]) {
      quota = numbers[0];
      period = numbers[1];
    }
  } else {
    quota = ReadNumber(dir / "cpu.cfs_quota_us");
    period = ReadNumber(dir / "cpu.cfs_period_us");
  }
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return *quota / *period;
}

std::optional<double> ReadMemory(const fs::path& dir, bool version2) {
  return ReadNumber(dir / (version2 ? "memory.max" : "memory.limit_in_bytes"));
}

using Reader = std::optional<double>(const fs::path& dir, bool version2);

// A group gets no more than any group around it.
std::optional<double> Tightest(const fs::path& root, const std::string& controller, Reader* read) {
  std::optional<double> tightest;
  for (const Groups& groups : FindGroups(root, controller)) {
    for (const fs::path& dir : groups.dirs) {
      const std::optional<double> limit = read(dir, groups.version2);
      if (limit) tightest = std::min(*limit, tightest.value_or(*limit));
    }
  }
  return tightest;
}

}  // namespace

std::optional<double> ControlGroupCpus(const fs::path& root) {
  return Tightest(root, "cpu", ReadCpus);
}

std::optional<int64_t> ControlGroupMemoryBytes(const fs::path& root) {
  const std::optional<double> bytes = Tightest(root, "memory", ReadMemory);
  // Version 1 says "no limit" with a number near 2^63.
  if (!bytes || *bytes >= 0x1p62) return std::nullopt;
  return static_cast<int64_t>(*bytes);
}

}  // namespace tessera
