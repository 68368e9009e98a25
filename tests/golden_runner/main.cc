// tessera-golden [--device cpu|cuda] DIR…: runs every golden case found under the directories:
// whole models (through the model's parts, through the engine, and over gRPC), image files,
// tokenizers. One line per check, then "N passed, N failed"; exit 1 on a failure or when nothing
// was found.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <vector>

#include "engine/base/status.h"
#include "server/device.h"
#include "tests/golden_runner/checks.h"
#include "tests/testing/tokenizer_cases.h"

namespace tessera::golden {
namespace {

namespace fs = std::filesystem;

constexpr double kRoundingFactor = 1.5;  // of the official code's own cost of bfloat16
// One request may be far off where an expert or an argmax flips: only the median of several says
// something.
constexpr size_t kEnoughRequests = 5;

struct Found {
  std::vector<fs::path> models;
  std::vector<fs::path> images;
  std::vector<fs::path> tokenizers;
};

void Classify(const fs::path& directory, Found& found) {
  if (fs::exists(directory / "expected.json")) {
    (fs::is_directory(directory / "model") ? found.models : found.images).push_back(directory);
  } else if (fs::exists(directory / "meta.json") && fs::exists(directory / "expected.jsonl.gz")) {
    found.tokenizers.push_back(directory);
  }
}

Found FindCases(const std::vector<fs::path>& roots) {
  std::set<fs::path> directories;
  for (const fs::path& root : roots) {
    if (!fs::is_directory(root)) continue;
    directories.insert(fs::canonical(root));
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      if (entry.is_directory()) directories.insert(fs::canonical(entry.path()));
    }
  }
  Found found;
  for (const fs::path& directory : directories) Classify(directory, found);
  return found;
}

DTypeChoice ChoiceOf(DType dtype) {
  return dtype == DType::kBFloat16  ? DTypeChoice::kBFloat16
         : dtype == DType::kFloat16 ? DTypeChoice::kFloat16
                                    : DTypeChoice::kFloat32;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

void CheckModel(const fs::path& directory, DeviceChoice device, RoundingCost& cost,
                Report& report) {
  auto golden = ReadModelCase(directory);
  if (!golden.ok()) {
    report.Fail(directory.string(), std::string(StatusMessage(golden.status())));
    return;
  }
  golden->make_backend = [device](DType dtype) {
    return MakeBackend(device, ChoiceOf(dtype), WeightFormat::kActivations, std::nullopt, 0);
  };
  CheckTensors(*golden, report);
  MeasureRounding(*golden, cost, report);
  CheckEngine(*golden, report);
  CheckServer(*golden, report);
}

void CheckRounding(const char* dtype, const std::vector<double>& ours,
                   const std::vector<double>& official, Report& report) {
  if (ours.empty()) return;
  const std::string what = fmt::format("median cost of {} in first logits", dtype);
  const std::string figures =
      fmt::format("{:.2e}, official code in bfloat16 {:.2e}", Median(ours), Median(official));
  if (ours.size() < kEnoughRequests) {
    fmt::print("note {} of {} requests only: {}\n", what, ours.size(), figures);
    return;
  }
  report.Add(Median(ours) <= kRoundingFactor * Median(official), what, figures);
}

int Run(const std::vector<fs::path>& roots, DeviceChoice device) {
  const Found found = FindCases(roots);
  Report report;
  RoundingCost cost;
  for (const fs::path& directory : found.images) CheckImages(directory, report);
  for (const fs::path& directory : found.tokenizers) {
    const auto result = tessera::testing::RunTokenizerCases(directory);
    for (const std::string& failure : result.failures) {
      report.Fail(directory.filename().string(), failure);
    }
    if (result.failures.empty()) {
      report.Add(result.passed > 0, "tokenizer " + directory.filename().string(),
                 fmt::format("{} cases", result.passed));
    }
  }
  for (const fs::path& directory : found.models) CheckModel(directory, device, cost, report);
  CheckRounding("bfloat16", cost.bfloat16, cost.official, report);
  CheckRounding("float16", cost.float16, cost.official, report);
  if (report.passed() + report.failed() == 0) fmt::print("no golden case was found\n");
  fmt::print("{} passed, {} failed\n", report.passed(), report.failed());
  return report.failed() == 0 && report.passed() > 0 ? 0 : 1;
}

}  // namespace
}  // namespace tessera::golden

int main(int argc, char** argv) {
  CLI::App app("Runs every golden case found under directories.", "tessera-golden");
  auto device = tessera::DeviceChoice::kCpu;
  const std::map<std::string, tessera::DeviceChoice> devices = {
      {"cpu", tessera::DeviceChoice::kCpu}, {"cuda", tessera::DeviceChoice::kCuda}};
  app.add_option("--device", device, "cpu (default) or cuda")
      ->transform(CLI::CheckedTransformer(devices));
  std::vector<std::filesystem::path> roots;
  app.add_option("DIR", roots, "searched for cases")->required();
  CLI11_PARSE(app, argc, argv);
  return tessera::golden::Run(roots, device);
}
