#include "cuda/tile_choice.h"

#include <spdlog/spdlog.h>

#include "cuda/shipped_tiles.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

std::filesystem::path CacheFile(const std::optional<std::filesystem::path>& cache,
                                const std::string& gpu) {
  if (!cache || cache->empty()) return {};
  return *cache / TileFileName(gpu);
}

}  // namespace

ProductShape ShapeOf(const cuda::Product& product) {
  return {product.experts, product.x.cols(), product.out,
          product.format,  product.gated,    product.rows != nullptr};
}

TileChoice::TileChoice(const gpu::Device& device, DType dtype,
                       const std::optional<std::filesystem::path>& cache,
                       const TuningOptions& options)
    : device_{device.name, device.multiprocessors},
      dtype_(dtype),
      tuned_(cache.has_value()),
      cache_file_(CacheFile(cache, device.name)),
      options_(options) {
  if (tuned_) ReadTables();
}

void TileChoice::ReadTables() {
  for (const std::string_view text : ShippedTiles()) {
    if (const auto file = ParseTiles(text); file.ok() && file->device == device_) {
      table_.Add(file->table);
    }
  }
  if (cache_file_.empty()) return;
  const auto file = ReadTiles(cache_file_);
  if (!file.ok()) {
    if (!absl::IsNotFound(file.status())) {
      spdlog::warn("tiles: ignored: {}", StatusMessage(file.status()));
    }
  } else if (file->device != device_) {
    spdlog::warn("tiles: ignored: {} is of another GPU or other kernels", cache_file_.string());
  } else {
    own_ = file->table;
    table_.Add(own_);
  }
}

void TileChoice::Tune(Staging& staging, gpu::StreamHandle stream) {
  if (!tuned_) return;
  std::vector<ProductShape> shapes;
  for (const ProductShape& shape : expected_) {
    if (!table_.Has(shape)) shapes.push_back(shape);
  }
  spdlog::info("tiles: {} of {} shapes of products are known", expected_.size() - shapes.size(),
               expected_.size());
  if (shapes.empty()) return;
  const TileTable measured = Measure(shapes, staging, stream);
  table_.Add(measured);
  own_.Add(measured);
  Keep(measured);
}

TileTable TileChoice::Measure(const std::vector<ProductShape>& shapes, Staging& staging,
                              gpu::StreamHandle stream) const {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const auto deadline = start + std::chrono::duration_cast<Clock::duration>(options_.most);
  TileTable measured;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const std::string name = ToString(shapes[i]);
    spdlog::info("tuning: {} of {}: {}", i + 1, shapes.size(), name);
    const auto timer = TileTimer::Make(shapes[i], dtype_, device_.multiprocessors, options_.timer,
                                       staging, stream);
    if (!timer.ok()) {
      spdlog::warn("tuning: {} is left out: {}", name, StatusMessage(timer.status()));
      continue;
    }
    const auto tiles = BestTiles(shapes[i], deadline, **timer);
    if (!tiles) {
      spdlog::warn("tuning: no time left after {:.0f} s, the next start goes on from {}",
                   options_.most.count(), name);
      break;
    }
    measured.Set(shapes[i], *tiles);
  }
  const std::chrono::duration<double> seconds = Clock::now() - start;
  spdlog::info("tuning: {} shapes in {:.1f} s", measured.shapes().size(), seconds.count());
  return measured;
}

void TileChoice::Keep(const TileTable& measured) {
  if (measured.shapes().empty()) return;
  if (cache_file_.empty()) {
    spdlog::warn(
        "tiles: kept nowhere, the next start measures them again; --tile-cache names a "
        "directory for them");
    return;
  }
  const absl::Status status = WriteTiles(cache_file_, {device_, own_});
  if (status.ok()) {
    spdlog::info("tiles: kept in {}", cache_file_.string());
  } else {
    spdlog::warn("tiles: not kept: {}", StatusMessage(status));
  }
}

cuda::HopperTile TileChoice::Choose(const cuda::Product& product, FallbackLog& fallbacks) const {
  if (tuned_) {
    const ProductShape shape = ShapeOf(product);
    if (const cuda::HopperTile* tile = table_.Find(shape, product.places)) return *tile;
    fallbacks.Note(FallbackReason::kUntuned, shape);
  }
  return cuda::ChooseHopperTile(product, device_.multiprocessors);
}

}  // namespace tessera
