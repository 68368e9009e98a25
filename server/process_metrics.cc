#include "server/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>

#include "server/log.h"
#include "server/metric_set.h"

namespace tessera {
namespace {

std::string ReadFile(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Fields 14 utime, 15 stime, 22 starttime (ticks), 23 vsize (bytes), 24 rss (pages) of
// /proc/self/stat.
struct ProcessStat {
  double cpu_ticks = 0;
  double start_ticks = 0;
  double virtual_bytes = 0;
  double resident_pages = 0;
};

std::optional<ProcessStat> ReadStat() {
  const std::string text = ReadFile("/proc/self/stat");
  const size_t name_end = text.rfind(')');  // field 2 may hold blanks
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  ProcessStat stat;
  std::string value;
  for (int field = 3; field <= 24 && fields >> value; ++field) {
    const double number = std::strtod(value.c_str(), nullptr);
    if (field == 14 || field == 15) stat.cpu_ticks += number;
    if (field == 22) stat.start_ticks = number;
    if (field == 23) stat.virtual_bytes = number;
    if (field == 24) stat.resident_pages = number;
  }
  return stat;
}

// Seconds since the epoch at which the machine started; /proc/stat's line "btime N".
std::optional<double> ReadBootTime() {
  const std::string text = ReadFile("/proc/stat");
  const size_t at = text.find("btime ");
  if (at == std::string::npos) return std::nullopt;
  return std::strtod(text.c_str() + at + 6, nullptr);
}

std::optional<double> CountOpenFiles() {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/self/fd", error);
  if (error) return std::nullopt;
  return static_cast<double>(std::distance(begin(files), end(files)) - 1);  // without our own
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessMetrics::Collect() const {
  MetricSet set;
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  if (const auto stat = ReadStat()) {
    set.Counter("process_cpu_seconds_total", "User and system time in seconds.",
                stat->cpu_ticks / ticks);
    set.Gauge("process_resident_memory_bytes", "Resident memory in bytes.",
              stat->resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE)));
    set.Gauge("process_virtual_memory_bytes", "Virtual memory in bytes.", stat->virtual_bytes);
    if (const auto boot = ReadBootTime()) {
      set.Gauge("process_start_time_seconds", "Start of the process since the epoch in seconds.",
                *boot + stat->start_ticks / ticks);
    }
    timespec now{};
    clock_gettime(CLOCK_BOOTTIME, &now);  // the clock of starttime
    set.Gauge("tessera_uptime_seconds", "Since the start of the process.",
              static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) -
                  stat->start_ticks / ticks);
  }
  if (const auto files = CountOpenFiles()) {
    set.Gauge("process_open_fds", "Open file descriptors.", *files);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    set.Gauge("process_max_fds", "Most file descriptors that may be open.",
              static_cast<double>(limit.rlim_cur));
  }
  set.Counter("tessera_log_lines_dropped_total",
              "Lines of log that nobody read in time, so they were dropped.",
              static_cast<double>(LogLinesDropped()));
  return set.Take();
}

}  // namespace tessera
