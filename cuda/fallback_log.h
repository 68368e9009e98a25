// Warns of each shape of product that does not run as the GPU does it best, and counts them.
#pragma once

#include <set>
#include <utility>

#include "cuda/tile_table.h"
#include "engine/backend/fallback.h"

namespace tessera {

class FallbackLog {
 public:
  // The first time that a shape falls back for this reason.
  void Note(FallbackReason reason, const ProductShape& shape);
  const Fallbacks& counts() const { return counts_; }

 private:
  std::set<std::pair<FallbackReason, ProductShape>> noted_;
  Fallbacks counts_ = {};
};

}  // namespace tessera
