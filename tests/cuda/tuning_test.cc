// Tiles of products measured on an emulated Hopper GPU, whose clock favours what a test says.
#include "cuda/tuning.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "cuda/cuda_backend.h"
#include "cuda/make_cuda_backend.h"
#include "engine/cpu/make_cpu_backend.h"
#include "tests/cuda/product_problem.h"
#include "tests/emulated/clock.h"
#include "tests/emulated/copy_engine.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using cuda::HopperTile;
using gpu::emulated::LaunchedGrid;

constexpr int64_t kIn = 64;
constexpr int64_t kOut = 128;
constexpr int64_t kMaxPlaces = 16;
constexpr HopperTile kFavourite = {128, 16};

// The launches of a tile, whatever they multiply.
struct Signature {
  unsigned threads = 0;
  size_t shared_bytes = 0;
  bool operator==(const Signature&) const = default;
};

Signature SignatureOf(const HopperTile& tile) {
  Signature signature;
  cuda::ProductProblem problem({.name = "", .counts = {1}});
  gpu::emulated::SetLaunchSeconds([&](const LaunchedGrid& grid) {
    signature = {grid.threads, grid.shared_bytes};
    return 0.0;
  });
  problem.Run(tile);
  gpu::emulated::SetLaunchSeconds(nullptr);
  return signature;
}

class TuningTest : public ::testing::Test {
 protected:
  TuningTest()
      : directory_(fs::path(::testing::TempDir()) / ("tuning-" + std::to_string(getpid()))),
        logger_(spdlog::default_logger()) {
    fs::remove_all(directory_);
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_st>(log_)));
    favourite_ = SignatureOf(kFavourite);
    gpu::emulated::SetLaunchSeconds([this](const LaunchedGrid& grid) {
      launches_.push_back({grid.threads, grid.shared_bytes});
      return launches_.back() == favourite_ ? 1e-6 : 2e-6;
    });
  }
  ~TuningTest() override {
    gpu::emulated::SetLaunchSeconds(nullptr);
    spdlog::set_default_logger(logger_);
    fs::remove_all(directory_);
  }

  std::unique_ptr<CudaBackend> Make(const std::optional<fs::path>& cache, int major = 9) const {
    TuningOptions options;
    options.timer = {.most_places = kMaxPlaces, .cold_bytes = 0, .repeats = 1};
    return std::make_unique<CudaBackend>(DType::kBFloat16, WeightFormat::kActivations,
                                         gpu::Device{"emulated", major, 0, 4, 0},
                                         gpu::OpenSideStream(), cache, options);
  }
  static std::unique_ptr<PackedLinear> Pack(Backend& backend, int64_t in = kIn) {
    const std::vector<float> values(static_cast<size_t>(kOut * in), 0.5f);
    auto packed = backend.PackLinear({{{DType::kFloat32, {kOut, in}, values.data()}}, {}});
    EXPECT_TRUE(packed.ok()) << packed.status();
    return *std::move(packed);
  }
  static std::vector<float> Multiply(Backend& backend, const PackedLinear& weights, int64_t rows) {
    std::vector<float> x(static_cast<size_t>(rows * weights.in));
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 13) - 6;
    const auto y = backend.DownloadFloats(
        backend.Linear(backend.UploadActivations(x, {rows, weights.in}), weights));
    backend.ResetArena();
    return y;
  }
  fs::path file() const { return directory_ / "tiles-emulated.json"; }
  size_t Said(const std::string& what) const {
    size_t count = 0;
    for (size_t at = 0; (at = log_.str().find(what, at)) != std::string::npos; ++at) ++count;
    return count;
  }

  const fs::path directory_;
  std::ostringstream log_;
  std::shared_ptr<spdlog::logger> logger_;
  Signature favourite_;
  std::vector<Signature> launches_;
};

TEST_F(TuningTest, TheFastestTileIsKeptAndTheNextStartTimesNothing) {
  std::vector<float> untuned;
  {
    const auto backend = Make(std::nullopt);
    const auto weights = Pack(*backend);
    untuned = Multiply(*backend, *weights, kMaxPlaces);
    EXPECT_NE(launches_.back(), favourite_) << "the rule takes another tile";
  }
  {
    const auto backend = Make(directory_);
    const auto weights = Pack(*backend);
    const auto same = Pack(*backend);
    backend->Autotune();
    EXPECT_EQ(Multiply(*backend, *weights, kMaxPlaces), untuned);
    EXPECT_EQ(launches_.back(), favourite_);
  }
  const auto kept = ReadTiles(file());
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(kept->device, (TileDevice{"emulated", 4}));
  ASSERT_EQ(kept->table.shapes().size(), 1u);
  const ProductShape shape = {.in = kIn, .out = kOut};
  EXPECT_EQ(*kept->table.Find(shape, kMaxPlaces), kFavourite);
  EXPECT_EQ(kept->table.Find(shape, 1)->places, 8) << "larger ones are not worth timing";

  const auto backend = Make(directory_);
  const auto weights = Pack(*backend);
  launches_.clear();
  backend->Autotune();
  EXPECT_TRUE(launches_.empty());
  EXPECT_EQ(Multiply(*backend, *weights, kMaxPlaces), untuned);
  EXPECT_EQ(launches_.back(), favourite_);
  EXPECT_EQ(backend->fallbacks(), Fallbacks{});
  EXPECT_EQ(Said("tuning: 1 of 1: 1 x 64 -> 128"), 1u) << log_.str();
  EXPECT_EQ(Said("warning"), 0u) << log_.str();
}

TEST_F(TuningTest, BothProductsOfExpertsAreShapesOfTheirOwn) {
  const auto backend = Make(directory_);
  const std::vector<float> values(64 * 64, 0.5f);
  const HostTensor matrix = {DType::kFloat32, {64, 64}, values.data()};
  ExpertWeights source;
  source.gated = true;
  source.activation = Activation::kSilu;
  for (int e = 0; e < 2; ++e) {
    source.up.push_back({{matrix, matrix}, {}});
    source.down.push_back({{matrix}, {}});
  }
  const auto experts = backend->PackExperts(source);
  ASSERT_TRUE(experts.ok());
  backend->Autotune();
  const auto kept = ReadTiles(file());
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(kept->table.shapes().size(), 2u);
  EXPECT_TRUE(kept->table.Has({2, 64, 128, WeightFormat::kActivations, true, true}));
  EXPECT_TRUE(kept->table.Has({2, 64, 64, WeightFormat::kActivations, false, false}));
}

TEST_F(TuningTest, QuantisedWeightsToo) {
  for (const WeightFormat format : {WeightFormat::kFloat8, WeightFormat::kInt8, WeightFormat::kInt4,
                                    WeightFormat::kFloat8W8A8}) {
    TuningOptions options;
    options.timer = {.most_places = 1, .cold_bytes = 1e5, .repeats = 3};
    CudaBackend backend(DType::kFloat16, format, gpu::Device{"emulated", 9, 0, 4, 0},
                        gpu::OpenSideStream(), directory_, options);
    const auto weights = Pack(backend, 80);
    backend.Autotune();
    Multiply(backend, *weights, 3);
    EXPECT_EQ(backend.fallbacks(), Fallbacks{});
    EXPECT_TRUE(ReadTiles(file())->table.Has({.in = 80, .out = kOut, .format = format}));
  }
  EXPECT_EQ(ReadTiles(file())->table.shapes().size(), 4u) << "the file keeps what it had";
}

TEST_F(TuningTest, AFileThatIsNoTableIsAWarningAndMeasuredAnew) {
  const TileFile foreign = {{"emulated", 132}, {}};
  for (const std::string& text : {std::string("{\"format\": 1, "), FormatTiles(foreign)}) {
    fs::create_directories(directory_);
    std::ofstream(file()) << text;
    log_.str("");
    const auto backend = Make(directory_);
    const auto weights = Pack(*backend);
    backend->Autotune();
    EXPECT_EQ(Said("tiles: ignored: "), 1u) << log_.str();
    const auto kept = ReadTiles(file());
    ASSERT_TRUE(kept.ok()) << kept.status();
    EXPECT_EQ(kept->table.shapes().size(), 1u);
  }
}

TEST_F(TuningTest, WithoutAPlaceForFilesTilesAreMeasuredAllTheSame) {
  fs::create_directories(directory_);
  std::ofstream(directory_ / "file") << "";
  for (const fs::path& cache : {directory_ / "file" / "below", fs::path()}) {
    log_.str("");
    const auto backend = Make(cache);
    const auto weights = Pack(*backend);
    backend->Autotune();
    EXPECT_EQ(Said("[warning] tiles: "), 1u) << log_.str();
    Multiply(*backend, *weights, kMaxPlaces);
    EXPECT_EQ(launches_.back(), favourite_);
  }
}

TEST_F(TuningTest, WhatTakesTooLongIsLeftToTheRule) {
  TuningOptions options;
  options.most = std::chrono::seconds(0);
  CudaBackend backend(DType::kBFloat16, WeightFormat::kActivations,
                      gpu::Device{"emulated", 9, 0, 4, 0}, gpu::OpenSideStream(), directory_,
                      options);
  const auto weights = Pack(backend);
  backend.Autotune();
  EXPECT_EQ(Said("tuning: no time left"), 1u) << log_.str();
  EXPECT_FALSE(fs::exists(file()));
  Multiply(backend, *weights, 1);
  EXPECT_EQ(backend.fallbacks()[static_cast<size_t>(FallbackReason::kUntuned)], 1u);
}

TEST_F(TuningTest, EachShapeThatFallsBackIsCountedAndToldOnce) {
  const auto backend = Make(directory_);
  const auto odd = Pack(*backend, 20);
  backend->Autotune();
  const auto late = Pack(*backend);
  for (int i = 0; i < 2; ++i) {
    Multiply(*backend, *odd, 1);
    Multiply(*backend, *late, 1);
    Multiply(*backend, *late, 9);
  }
  EXPECT_EQ(backend->fallbacks(), (Fallbacks{1, 0, 1}));
  EXPECT_EQ(Said("[warning] slow path: product 1 x 20 -> 128 does not fit"), 1u) << log_.str();
  EXPECT_EQ(Said("[warning] slow path: product 1 x 64 -> 128 has no measured tiles"), 1u);
}

TEST_F(TuningTest, WeightsThatTheCopyEngineDoesNotBringTakeTheOtherKernel) {
  const auto ampere = Make(directory_, 8);
  const auto expected = Multiply(*ampere, *Pack(*ampere), 3);
  gpu::emulated::SetTensorMaps(false);
  const auto backend = Make(directory_);
  const auto weights = Pack(*backend);
  CudaBackend bytes(DType::kBFloat16, WeightFormat::kFloat8W8A8,
                    gpu::Device{"emulated", 9, 0, 4, 0}, gpu::OpenSideStream());
  const std::vector<float> values(16 * 16, 0.5f);
  const auto refused = bytes.PackLinear({{{DType::kFloat32, {16, 16}, values.data()}}, {}});
  gpu::emulated::SetTensorMaps(true);
  EXPECT_EQ(Multiply(*backend, *weights, 3), expected);
  EXPECT_EQ(backend->fallbacks()[static_cast<size_t>(FallbackReason::kTensorMap)], 1u);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(refused.status().message().find("--weights fp8"), std::string::npos);
}

TEST_F(TuningTest, NothingFallsBackWhereNothingIsMissing) {
  const auto rule = Make(std::nullopt);
  const auto ampere = Make(directory_, 8);
  const auto cpu = MakeCpuBackend({.dtype = DType::kFloat32});
  ASSERT_TRUE(cpu.ok());
  for (Backend* backend :
       {static_cast<Backend*>(rule.get()), static_cast<Backend*>(ampere.get()), cpu->get()}) {
    const auto weights = Pack(*backend);
    const size_t before = launches_.size();
    backend->Autotune();
    EXPECT_EQ(launches_.size(), before);
    Multiply(*backend, *weights, 3);
    EXPECT_EQ(backend->fallbacks(), Fallbacks{});
  }
  EXPECT_FALSE(fs::exists(directory_));
}

TEST_F(TuningTest, NarrowTilesAreTimedWhereWholeOnesAreTooFew) {
  const auto narrow = [](const ProductShape& shape, int64_t places) {
    const auto tiles = CandidateTiles(shape, places, 132);
    return std::any_of(tiles.begin(), tiles.end(), cuda::IsNarrow);
  };
  EXPECT_TRUE(narrow({.in = 64, .out = 2560}, 1));
  EXPECT_TRUE(narrow({.experts = 128, .in = 64, .out = 2048}, 8));
  EXPECT_FALSE(narrow({.experts = 128, .in = 64, .out = 2048}, 64));
  EXPECT_FALSE(narrow({.in = 64, .out = 151936}, 1));
}

TEST_F(TuningTest, CandidatesHaveKernels) {
  for (const int64_t out : {16, 64, 65, 4096}) {
    for (int bucket = 0; bucket < kPlaceBuckets; ++bucket) {
      for (const WeightFormat format :
           {WeightFormat::kActivations, WeightFormat::kInt4, WeightFormat::kFloat8W8A8}) {
        const auto tiles =
            CandidateTiles({.in = 64, .out = out, .format = format}, MostPlaces(bucket), 132);
        EXPECT_FALSE(tiles.empty());
        for (const HopperTile& tile : tiles) EXPECT_TRUE(cuda::IsHopperTile(tile, format));
      }
    }
  }
  EXPECT_EQ(CandidateTiles({.in = 64, .out = 4096}, 8192, 32).size(), 2 * cuda::kTilePlaces.size());
}

}  // namespace
}  // namespace tessera
