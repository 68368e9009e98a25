// The Hopper product with weights of the activations' type, and what holds for all weights: which
// products fit and in which tiles.
#include <cmath>

#include "cuda/kernels/four_bit.h"
#include "cuda/kernels/product_rows_hopper.h"

namespace tessera::cuda {
namespace {

constexpr int kMinPlaces = kTilePlaces[0];

template <typename T>
struct HalfRows : PlainRows<T, T> {
  static constexpr WeightFormat kFormat = WeightFormat::kActivations;

  template <typename S>
  static __device__ __forceinline__ void Sum(int in, int warpgroup, Shared<S>& shared,
                                             Turn<S::kStages>& turn, float (&d)[S::kPlaces / 2]) {
    PlainRows<T, T>::SumStages(0, in, warpgroup, shared, turn, d);
  }
};

}  // namespace

bool HopperProductFits(const Product& product) {
  const auto aligned = [](const void* pointer) {
    return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
  };
  const DType type = product.x.dtype;
  const bool bytes = product.format == WeightFormat::kFloat8W8A8;
  const bool types = bytes ? type == DType::kFloat8
                           : (type == DType::kBFloat16 || type == DType::kFloat16) &&
                                 (product.y.dtype == type || product.y.dtype == DType::kFloat32);
  const int64_t chunk = bytes ? kChunkBytes : kChunkBytes / 2;
  return types && product.x.cols() % chunk == 0 && product.stride % chunk == 0 &&
         aligned(product.x.data) && aligned(product.weights) &&
         product.x.elements() / chunk <= INT32_MAX && product.experts <= kMaxTiledExperts &&
         (!product.gated || product.out % 16 == 0) &&
         MostTiles(product.places, TilingOf(product, {kTileRows[0], kMinPlaces})) <= INT32_MAX;
}

namespace {

// Boxes of `box_rows` rows and 128 bytes, 64 of the engine's elements. Quantised weights that are
// widened lie as lines of them. 8 bits: a box is eight of them, a block, of each of the blocks of
// its rows; 4 bits: all the lines of one of theirs.
bool MapRows(const void* weights, WeightFormat format, int64_t experts, int64_t out, int64_t stride,
             int box_rows, gpu::TensorMap& map) {
  const auto size = [](int64_t n) { return static_cast<uint64_t>(n); };
  gpu::TensorBoxes boxes;
  boxes.data = weights;
  if (format == WeightFormat::kInt4) {
    constexpr int kLines = kFourBitBoxBytes / kRowBytes;
    const uint64_t lines = size(stride / kBlockCols * kLines);
    boxes.dims = {kRowBytes / 2, lines, size(experts * RowBoxes(out))};
    boxes.strides = {kRowBytes, lines * kRowBytes};
    boxes.box = {kRowBytes / 2, kLines, 1};
    return gpu::MakeTensorMap(boxes, map);
  }
  if (format == WeightFormat::kFloat8 || format == WeightFormat::kInt8) {
    boxes.dims = {kRowBytes / 2, size(stride / kBlockCols * kBlockBytes / kRowBytes),
                  size(experts * RowBlocks(out))};
    boxes.strides = {kRowBytes, size(stride * kBlockRows)};
    boxes.box = {kRowBytes / 2, kBlockBytes / kRowBytes,
                 static_cast<unsigned>(box_rows / kBlockRows)};
    return gpu::MakeTensorMap(boxes, map);
  }
  const int64_t line = format == WeightFormat::kFloat8W8A8 ? stride : stride * 2;  // bytes
  boxes.dims = {size(line / 2), size(out), size(experts)};
  boxes.strides = {size(line), size(out * line)};
  boxes.box = {kRowBytes / 2, static_cast<unsigned>(box_rows), 1};
  return gpu::MakeTensorMap(boxes, map);
}

// Of few places, whose tiles take as long as W takes to be read: the rows of tiles that leave the
// fewest multiprocessors idle in their last round, fewer rows only for a tenth more at work.
int ChooseRows(const Product& product, int places, int multiprocessors) {
  int best = 0;
  double busiest = 0;
  for (int i = static_cast<int>(kTileRows.size()) - 1; i >= 0; --i) {
    const int rows = kTileRows[i];
    if (rows < LeastTileRows(product.format)) break;
    if (rows > kWholeRows && product.out <= kWholeRows) continue;
    const int64_t tiles = MostTiles(product.places, TilingOf(product, {rows, places}));
    const int64_t rounds = (tiles + multiprocessors - 1) / multiprocessors;
    const double busy =
        static_cast<double>(tiles) / (static_cast<double>(rounds) * multiprocessors);
    if (busy <= 1.1 * busiest) continue;
    busiest = busy;
    best = rows;
  }
  return best;
}

}  // namespace

bool MapHopperWeights(const void* weights, WeightFormat format, int64_t experts, int64_t out,
                      int64_t stride, HopperMaps& maps) {
  const auto map = [&](int rows, gpu::TensorMap& to) {
    return LeastTileRows(format) > rows || MapRows(weights, format, experts, out, stride, rows, to);
  };
  return map(kWholeRows, maps.whole) && map(kNarrowBoxRows, maps.narrow);
}

// The smallest tile that holds most experts' places, when those that have any have about as many
// (the square root is the deviation of a random choice); then smaller ones while half the
// multiprocessors would have nothing to do.
HopperTile ChooseHopperTile(const Product& product, int multiprocessors) {
  const int64_t used = std::max<int64_t>(1, std::min(product.experts, product.places));
  const double mean = static_cast<double>(product.places) / static_cast<double>(used);
  const double usual = used == 1 ? mean : mean + std::sqrt(mean);
  HopperTile tile = {product.out > kWholeRows ? 2 * kWholeRows : kWholeRows, kMinPlaces};
  const int most = MostTilePlaces(product.format);
  while (tile.places < most && tile.places < usual) tile.places *= 2;
  if (tile.places <= kMaxNarrowPlaces) {
    tile.rows = ChooseRows(product, tile.places, multiprocessors);
    return tile;
  }
  const auto idle = [&] {
    return MostTiles(product.places, TilingOf(product, tile)) * 2 <= multiprocessors;
  };
  if (tile.rows > kWholeRows && idle()) tile.rows = kWholeRows;
  // With fewer places than that more tiles would only read more of W.
  while (tile.places > kMaxNarrowPlaces && idle()) tile.places /= 2;
  return tile;
}

void RunHopperProduct(const Product& product, const HopperMaps& weights, const HopperTile& tile,
                      int multiprocessors, Stream stream) {
  if (product.format == WeightFormat::kInt4) {
    RunHopperFourBitProduct(product, weights, tile, multiprocessors, stream);
  } else if (product.format == WeightFormat::kFloat8W8A8) {
    RunHopperFloat8Product(product, weights, tile, multiprocessors, stream);
  } else if (product.format != WeightFormat::kActivations) {
    RunHopperQuantizedProduct(product, weights, tile, multiprocessors, stream);
  } else if (product.x.dtype == DType::kBFloat16) {
    LaunchHopperProduct<HalfRows<BFloat16>>(product, weights, tile, multiprocessors, stream);
  } else {
    LaunchHopperProduct<HalfRows<Float16>>(product, weights, tile, multiprocessors, stream);
  }
}

}  // namespace tessera::cuda
