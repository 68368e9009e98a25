#include "bench/gpu/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <utility>

#include "engine/base/check.h"

namespace tessera::bench {

bool Ceilings::Read(const std::string& path, Ceilings& ceilings) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t comma = line.find(',');
    if (comma == std::string::npos) continue;
    const std::string name = line.substr(0, comma);
    const double value = std::atof(line.c_str() + comma + 1);
    if (name == "copy_bytes_per_second") ceilings.copy_bytes_per_second = value;
    if (name == "dense_flops_per_second") ceilings.dense_flops_per_second = value;
    if (name == "float8_flops_per_second") ceilings.float8_flops_per_second = value;
  }
  return ceilings.copy_bytes_per_second > 0 && ceilings.dense_flops_per_second > 0;
}

Floor FloorOf(const Work& work, const Ceilings& ceilings) {
  const double memory = work.bytes / ceilings.copy_bytes_per_second;
  const double compute = work.flops / ceilings.dense_flops_per_second;
  return {std::max(memory, compute), memory >= compute};
}

Quantiles QuantilesOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto rank = [&](double share) {
    const auto place = std::lround(share * static_cast<double>(values.size() - 1));
    return values[static_cast<size_t>(place)];
  };
  return {rank(0.1), rank(0.5), rank(0.9)};
}

Table::Table(const std::string& path, std::string contender, std::string timing,
             const Ceilings& ceilings)
    : file_(std::fopen(path.c_str(), "a")),
      contender_(std::move(contender)),
      timing_(std::move(timing)),
      ceilings_(ceilings) {
  TESSERA_CHECK_MSG(file_ != nullptr, "cannot write " + path);
  std::fseek(file_.get(), 0, SEEK_END);
  if (std::ftell(file_.get()) == 0) fmt::print(file_.get(), "{}\n", kColumns);
}

void Table::Add(const Row& row) {
  const Quantiles time = QuantilesOf(row.seconds);
  const Floor floor = FloorOf(row.work, ceilings_);
  const bool checked = row.error >= 0 || std::isnan(row.error);
  const bool right = row.error <= row.tolerance;
  if (checked && !right) ++failed_checks_;
  const std::string line = fmt::format(
      "{},{},{},{},{},{},{},{},{:.3f},{:.3f},{:.3f},{:.3f},{},{:.1f},{:.1f},{:.2f},{},{}",
      contender_, row.section, row.what, row.shape, row.tokens, row.detail, timing_,
      row.seconds.size(), time.p10 * 1e6, time.median * 1e6, time.p90 * 1e6, floor.seconds * 1e6,
      floor.memory_bound ? "memory" : "compute", 100 * floor.seconds / time.median,
      row.work.bytes / time.median / 1e9, row.work.flops / time.median / 1e12,
      checked ? fmt::format("{:.2e}", row.error) : "",
      !checked ? ""
      : right  ? "ok"
               : "WRONG");
  fmt::print(file_.get(), "{}\n", line);
  std::fflush(file_.get());
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

}  // namespace tessera::bench
