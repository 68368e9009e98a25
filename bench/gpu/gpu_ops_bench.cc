// Operations of a backend against the floors that the machine's measured ceilings set, cold caches,
// and each result's sampled rows against double precision. Exits 1 when a result was wrong.
//   gpu_ops_bench --ceilings FILE [--device cuda|cpu] [--dtype bfloat16|float32]
//                 [--weights fp8|int8|int4|fp8-w8a8]
//                 [--section moe,attention,dense,vision,step,sampling]
//                 [--timing graph|stream] [--csv FILE] [--routing DIR] [--tile-cache DIR]
//                 [--samples N] [--block-size N] [--smoke]
// --tile-cache: as the server does, time the tiles of products that the tables there lack, and keep
// them; without it a rule chooses tiles.
// --smoke: tiny shapes and, without --ceilings, ceilings of the host; it tests this program and
// measures nothing of worth.
#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>

#include "bench/gpu/bench.h"
#include "cuda/make_cuda_backend.h"
#include "engine/base/check.h"
#include "engine/cpu/make_cpu_backend.h"

namespace tessera::bench {
namespace {

struct Flags {
  std::string ceilings;
  std::string device = "cuda";
  DType dtype = DType::kBFloat16;
  std::string sections = "moe,attention,dense,vision,step,sampling";
  bool graph = true;
  std::string csv = "/dev/null";
  std::optional<std::filesystem::path> tile_cache;
  Bench::Options options;
};

// kActivations where there is no such format.
WeightFormat FormatOf(const std::string& name) {
  for (const auto format : kQuantisedFormats) {
    if (name == WeightFormatName(format)) return format;
  }
  return WeightFormat::kActivations;
}

// Nothing where a flag is unknown or lacks its value.
std::optional<Flags> Parse(int argc, char** argv) {
  Flags flags;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--smoke") {
      flags.options.smoke = true;
      continue;
    }
    if (i + 1 == argc) return std::nullopt;
    const std::string value = argv[++i];
    if (name == "--ceilings") {
      flags.ceilings = value;
    } else if (name == "--device" && (value == "cuda" || value == "cpu")) {
      flags.device = value;
    } else if (name == "--dtype" && (value == "bfloat16" || value == "float32")) {
      flags.dtype = value == "float32" ? DType::kFloat32 : DType::kBFloat16;
    } else if (name == "--weights" && FormatOf(value) != WeightFormat::kActivations) {
      flags.options.weights = FormatOf(value);
    } else if (name == "--section") {
      flags.sections = value;
    } else if (name == "--timing" && (value == "graph" || value == "stream")) {
      flags.graph = value == "graph";
    } else if (name == "--csv") {
      flags.csv = value;
    } else if (name == "--routing") {
      flags.options.routing_folder = value;
    } else if (name == "--tile-cache") {
      flags.tile_cache = value;
    } else if (name == "--samples") {
      flags.options.samples = std::max(1, std::atoi(value.c_str()));
    } else if (name == "--block-size") {
      flags.options.block_size = std::max(1, std::atoi(value.c_str()));
    } else {
      return std::nullopt;
    }
  }
  return flags;
}

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Of the host, for --smoke: a copy of memory and a product of the backend itself.
Ceilings HostCeilings(Backend& backend) {
  constexpr int64_t kSide = 512;
  std::vector<char> from(64 << 20, 1);
  std::vector<char> to(from.size());
  const std::vector<float> values(kSide * kSide, 0.5f);
  const auto weights = backend.PackLinear({{{DType::kFloat32, {kSide, kSide}, values.data()}}, {}});
  TESSERA_CHECK_MSG(weights.ok(), weights.status().ToString());
  const Tensor x = backend.UploadActivations(values, {kSide, kSide});
  Ceilings ceilings;
  for (int i = 0; i < 3; ++i) {
    const double copy = Seconds([&] { std::memcpy(to.data(), from.data(), from.size()); });
    const double product = Seconds([&] { backend.Linear(x, **weights); });
    ceilings.copy_bytes_per_second =
        std::max(ceilings.copy_bytes_per_second, 2.0 * (64 << 20) / copy);
    ceilings.dense_flops_per_second =
        std::max(ceilings.dense_flops_per_second, 2.0 * kSide * kSide * kSide / product);
  }
  backend.ResetArena();
  return ceilings;
}

int RunSections(const Flags& flags, Backend& backend) {
  Ceilings ceilings;
  if (!flags.ceilings.empty()) {
    if (!Ceilings::Read(flags.ceilings, ceilings)) {
      fmt::print(stderr, "{}: no copy_bytes_per_second or no dense_flops_per_second\n",
                 flags.ceilings);
      return 2;
    }
  } else {
    ceilings = HostCeilings(backend);
  }
  if (flags.options.weights == WeightFormat::kFloat8W8A8) {
    if (ceilings.float8_flops_per_second <= 0) {
      fmt::print(stderr, "{}: no float8_flops_per_second\n", flags.ceilings);
      return 2;
    }
    // Attention's products, which are of 16 bits, too: floors are lower than can be reached.
    ceilings.dense_flops_per_second = ceilings.float8_flops_per_second;
  }
  const auto timer =
      flags.device == "cuda" ? MakeDeviceTimer(backend, flags.graph) : MakeHostTimer(backend);
  const std::string format = WeightFormatName(flags.options.weights);
  Table table(flags.csv, format.empty() ? "tessera" : "tessera " + format, timer->name(), ceilings);
  Bench bench(backend, *timer, table, flags.options);
  const struct {
    const char* name;
    void (*run)(Bench&);
  } sections[] = {{"moe", MoeRows},       {"attention", AttentionRows}, {"dense", DenseRows},
                  {"vision", VisionRows}, {"step", StepRows},           {"sampling", SamplingRows}};
  for (const auto& section : sections) {
    if (("," + flags.sections + ",").find(fmt::format(",{},", section.name)) == std::string::npos) {
      continue;
    }
    const double seconds = Seconds([&] { section.run(bench); });
    fmt::print("# {}: {:.1f} s\n", section.name, seconds);
  }
  return table.failed_checks() == 0 ? 0 : 1;
}

int Main(int argc, char** argv) {
  auto flags = Parse(argc, argv);
  const bool quantised = flags && flags->options.weights != WeightFormat::kActivations;
  if (!flags || (flags->ceilings.empty() && !flags->options.smoke) ||
      (quantised && flags->device != "cuda")) {
    fmt::print(
        stderr,
        "usage: gpu_ops_bench --ceilings FILE [--device cuda|cpu] [--dtype bfloat16|float32] "
        "[--weights fp8|int8|int4|fp8-w8a8] [--section moe,attention,dense,vision,step,sampling] "
        "[--timing graph|stream] [--csv FILE] [--routing DIR] [--tile-cache DIR] [--samples N] "
        "[--block-size N] [--smoke]\n");
    return 2;
  }
  auto backend = flags->device == "cuda"
                     ? MakeCudaBackend(flags->dtype, flags->options.weights, flags->tile_cache)
                     : MakeCpuBackend({.dtype = flags->dtype});
  if (!backend.ok()) {
    fmt::print(stderr, "{}\n", std::string(backend.status().message()));
    return 2;
  }
  if (flags->options.block_size == 0) flags->options.block_size = (*backend)->BlockRows();
  return RunSections(*flags, **backend);
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) { return tessera::bench::Main(argc, argv); }
