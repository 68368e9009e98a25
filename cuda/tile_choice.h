// Which tile each product of the Hopper kernel takes: what was measured on such a GPU, for shapes
// that nobody measured what a rule says. Tables come with the program (shipped_tiles.h) and from
// the user's directory, which gets what is measured here.
#pragma once

#include <filesystem>
#include <optional>
#include <set>

#include "cuda/fallback_log.h"
#include "cuda/tile_file.h"
#include "cuda/tuning.h"

namespace tessera {

ProductShape ShapeOf(const cuda::Product& product);

class TileChoice {
 public:
  // `cache`: the user's directory; empty: measured tiles are not kept; nullopt: the rule alone.
  TileChoice(const gpu::Device& device, DType dtype,
             const std::optional<std::filesystem::path>& cache, const TuningOptions& options);

  // Products of this shape will come.
  void Expect(const ProductShape& shape) { expected_.insert(shape); }
  // Times those that are expected and in no table, and keeps the best tiles.
  void Tune(Staging& staging, gpu::StreamHandle stream);

  // `fallbacks` is told where the rule stands in.
  cuda::HopperTile Choose(const cuda::Product& product, FallbackLog& fallbacks) const;

 private:
  void ReadTables();
  // Those of `shapes` that could be timed.
  TileTable Measure(const std::vector<ProductShape>& shapes, Staging& staging,
                    gpu::StreamHandle stream) const;
  void Keep(const TileTable& measured);

  const TileDevice device_;
  const DType dtype_;
  const bool tuned_;
  const std::filesystem::path cache_file_;  // empty: none
  const TuningOptions options_;
  TileTable table_;
  TileTable own_;  // the part of table_ that is the user's
  std::set<ProductShape> expected_;
};

}  // namespace tessera
