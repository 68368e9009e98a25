#include "engine/cpu/amx_product.h"

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/cpu/parallel.h"
#include "engine/cpu/row_kernels.h"
#include "engine/cpu/weight_rows.h"

namespace tessera {
namespace {

constexpr int64_t kBlock = 32;                      // rows and columns of two tiles
constexpr int64_t kTileBytes = 1024;                // 16 rows of 64 bytes
constexpr int64_t kPairBytes = 2 * kTileBytes;      // two tiles: one block of 32 × 32 bfloat16
constexpr int64_t kCachedBytes = int64_t{1} << 20;  // of x, that stay in the second-level cache

// Ldtilecfg's memory: eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Brings `lines` cache lines to the second-level cache; they may lie outside of any memory of ours.
inline void Prefetch(const char* from, int64_t lines) {
  for (int64_t i = 0; i < lines; ++i) _mm_prefetch(from + 64 * i, _MM_HINT_T1);
}

// Sums [32, 32] = x block row [in_blocks] · weight block column [in_blocks]. With `half` only the
// first 16 rows are computed. On the way, `ahead_lines` per block are prefetched from `ahead` on.
__attribute__((target("amx-tile,amx-bf16"), noinline)) void MultiplyTiles(
    const char* x, const char* w, int64_t in_blocks, bool half, const char* ahead,
    int64_t ahead_lines, float* sums) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  if (half) {
    for (int64_t i = 0; i < in_blocks; ++i, x += kPairBytes, w += kPairBytes) {
      Prefetch(ahead + 64 * i * ahead_lines, ahead_lines);
      _tile_loadd(4, x, 64);
      _tile_loadd(6, w, 64);
      _tile_loadd(7, w + kTileBytes, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
    }
  } else {
    for (int64_t i = 0; i < in_blocks; ++i, x += kPairBytes, w += kPairBytes) {
      Prefetch(ahead + 64 * i * ahead_lines, ahead_lines);
      _tile_loadd(6, w, 64);
      _tile_loadd(7, w + kTileBytes, 64);
      _tile_loadd(4, x, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, x + kTileBytes, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(2, sums + 16 * kBlock, kBlock * sizeof(float));
    _tile_stored(3, sums + 16 * kBlock + 16, kBlock * sizeof(float));
  }
  _tile_stored(0, sums, kBlock * sizeof(float));
  _tile_stored(1, sums + 16, kBlock * sizeof(float));
  __asm__ volatile("" ::: "memory");
}

__attribute__((target("amx-tile"), noinline)) void LoadTileConfig() {
  static constexpr TileConfig kConfig;
  _tile_loadconfig(&kConfig);
}

__attribute__((target("amx-tile"), noinline)) void ReleaseTiles() { _tile_release(); }

// Bias, activation and rounding of one block; writes y[row.., column..], inside its edges.
void FinishBlock(float* sums, int64_t rows, const float* bias, int64_t column,
                 Activation activation, int64_t row, Tensor y) {
  const int64_t out = y.cols();
  const int64_t cols = std::min(kBlock, out - column);
  rows::AddToEach(bias + column, cols, rows, kBlock, sums);
  rows::Activate(activation, rows * kBlock, sums);
  rows::NarrowEach(sums, kBlock, rows, cols, y.dtype, out,
                   y.as<char>() + (row * out + column) * DTypeBytes(y.dtype));
}

// Rows of x as tiles [in / 32][2][16 rows][32]; missing rows and columns are zeros.
void PackRows(Tensor x, const int32_t* sources, int64_t begin, int64_t rows, char* tiles) {
  const int64_t in = x.cols();
  const int64_t in_blocks = (in + kBlock - 1) / kBlock;
  if (rows < kBlock || in % kBlock != 0) std::memset(tiles, 0, in_blocks * kPairBytes);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t source = sources == nullptr ? begin + r : sources[begin + r];
    TESSERA_CHECK(source >= 0 && source < x.rows());
    const char* from = x.as<char>() + source * in * 2;
    char* to = tiles + r * 64;
    for (int64_t i = 0; i < in / kBlock; ++i) std::memcpy(to + i * kPairBytes, from + i * 64, 64);
    if (in % kBlock != 0) {
      std::memcpy(to + in / kBlock * kPairBytes, from + in / kBlock * 64, in % kBlock * 2);
    }
  }
}

// One block column of weights against up to `kCachedBytes` of one group's rows.
struct Item {
  const AmxGroup* group;
  const char* x;  // packed
  int64_t begin;  // row of y
  int64_t rows;
  int64_t column_block;
};

void RunItem(const Item& item, Activation activation, Tensor y) {
  alignas(64) float sums[kBlock * kBlock];
  const AmxMatrix& matrix = *item.group->matrix;
  const int64_t in_blocks = matrix.in_blocks();
  const int64_t column_bytes = in_blocks * kPairBytes;
  const char* w = static_cast<const char*>(matrix.tiles.data()) + item.column_block * column_bytes;
  // While the blocks of rows use this column, the next one comes near, a part with each.
  const int64_t blocks = (item.rows + kBlock - 1) / kBlock;
  const int64_t ahead_lines = (kPairBytes / 64 + blocks - 1) / blocks;
  LoadTileConfig();
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t rows = std::min(kBlock, item.rows - b * kBlock);
    MultiplyTiles(item.x + b * column_bytes, w, in_blocks, rows <= 16,
                  w + column_bytes + b * in_blocks * ahead_lines * 64, ahead_lines, sums);
    FinishBlock(sums, rows, item.group->bias, item.column_block * kBlock, activation,
                item.begin + b * kBlock, y);
  }
  ReleaseTiles();
}

// strip [16 rows][stride], of which `pairs` pairs along `in` count → for each 16 pairs a tile [16
// pairs][16 rows], one tile of every block.
void InterleaveStrip(const uint32_t* strip, int64_t stride, int64_t pairs, uint32_t* tiles) {
  for (int64_t pair = 0; pair < pairs; ++pair) {
    uint32_t* line = tiles + pair / 16 * (kPairBytes / sizeof(uint32_t)) + pair % 16 * 16;
    for (int64_t row = 0; row < 16; ++row) line[row] = strip[row * stride + pair];
  }
}

// Rows [row, row + 16) of a transposed bfloat16 matrix → the same tiles, without a strip: a column
// has them side by side.
void InterleaveColumns(const HostTensor& matrix, int64_t row, int64_t pairs, uint32_t* tiles) {
  const int64_t in = matrix.dims[1];
  const char* data = static_cast<const char*>(matrix.data) + row * sizeof(uint16_t);
  // The file's weights lie at any address.
  const auto copy_column = [&](int64_t column, uint16_t(&values)[16]) {
    if (column >= in) return std::memset(values, 0, sizeof(values));
    const char* from =
        data + column * matrix.column_stride * static_cast<int64_t>(sizeof(uint16_t));
    return std::memcpy(values, from, sizeof(values));
  };
  uint16_t low[16], high[16];
  for (int64_t pair = 0; pair < pairs; ++pair) {
    copy_column(2 * pair, low);
    copy_column(2 * pair + 1, high);
    uint32_t* line = tiles + pair / 16 * (kPairBytes / sizeof(uint32_t)) + pair % 16 * 16;
    for (int64_t r = 0; r < 16; ++r) line[r] = low[r] | uint32_t{high[r]} << 16;
  }
}

}  // namespace

bool AmxAvailable() {
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;
  return dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_amx &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

absl::StatusOr<AmxMatrix> PackAmx(const LinearWeights& source, int threads) {
  AmxMatrix matrix;
  matrix.in = source.weights[0].dims[1];
  std::vector<std::pair<const HostTensor*, int64_t>> from;  // piece and row of each stacked row
  for (const HostTensor& weight : source.weights) {
    for (int64_t i = 0; i < weight.dims[0]; ++i) from.emplace_back(&weight, i);
  }
  matrix.out = static_cast<int64_t>(from.size());
  const int64_t column_bytes = matrix.in_blocks() * kPairBytes;
  ASSIGN_OR_RETURN(matrix.tiles, AlignedMemory::Allocate(matrix.out_blocks() * column_bytes));
  const int64_t pairs = matrix.in_blocks() * kBlock / 2;
  // 16 rows, zeros behind their ends; a cache line apart from powers of two, where they would evict
  // each other.
  const int64_t stride = pairs + 16;
  const int64_t strip_bytes = 16 * stride * sizeof(uint32_t);
  ASSIGN_OR_RETURN(AlignedMemory scratch,
                   AlignedMemory::Allocate(threads * (strip_bytes + matrix.in * sizeof(float))));
  ParallelFor(threads, matrix.out_blocks(), matrix.in * matrix.out, [&](int64_t block, int thread) {
    char* mine =
        static_cast<char*>(scratch.data()) + thread * (strip_bytes + matrix.in * sizeof(float));
    auto* strip = reinterpret_cast<uint32_t*>(mine);
    auto* wide = reinterpret_cast<float*>(mine + strip_bytes);
    char* tiles = static_cast<char*>(matrix.tiles.data()) + block * column_bytes;
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t first = block * kBlock + half * 16;
      auto* half_tiles = reinterpret_cast<uint32_t*>(tiles + half * kTileBytes);
      if (first + 16 <= matrix.out) {
        const auto& [piece, at] = from[first];
        if (piece->column_stride > 0 && piece->dtype == DType::kBFloat16 &&
            at + 16 <= piece->dims[0]) {
          InterleaveColumns(*piece, at, pairs, half_tiles);
          continue;
        }
      }
      for (int64_t c = 0; c < 16; ++c) {
        auto* row = reinterpret_cast<uint16_t*>(strip + c * stride);
        const int64_t filled = first + c < matrix.out ? matrix.in : 0;
        if (filled > 0) {
          const auto& [piece, at] = from[first + c];
          CopyWeightRow(*piece, at, DType::kBFloat16, wide, row);
        }
        std::memset(row + filled, 0, (2 * pairs - filled) * sizeof(uint16_t));
      }
      InterleaveStrip(strip, stride, pairs, half_tiles);
    }
  });
  return matrix;
}

void RunAmx(std::span<const AmxGroup> groups, Tensor x, const int32_t* sources,
            Activation activation, Tensor y, int threads, Arena& arena) {
  struct RowBlock {
    int64_t begin, rows;
    char* tiles;
  };
  std::vector<RowBlock> blocks;
  std::vector<Item> items;
  const int64_t in_blocks = (x.cols() + kBlock - 1) / kBlock;
  const int64_t row_step = std::max<int64_t>(1, kCachedBytes / (in_blocks * kPairBytes)) * kBlock;
  double work = 0;
  for (const AmxGroup& group : groups) {
    const int64_t count = (group.rows + kBlock - 1) / kBlock;
    char* tiles = arena.New<char>(count * in_blocks * kPairBytes);
    for (int64_t r = 0; r < group.rows; r += kBlock) {
      blocks.push_back({group.begin + r, std::min(kBlock, group.rows - r),
                        tiles + r / kBlock * in_blocks * kPairBytes});
    }
    for (int64_t r = 0; r < group.rows; r += row_step) {
      const int64_t rows = std::min(row_step, group.rows - r);
      const char* packed = tiles + r / kBlock * in_blocks * kPairBytes;
      for (int64_t c = 0; c < group.matrix->out_blocks(); ++c) {
        items.push_back({&group, packed, group.begin + r, rows, c});
      }
    }
    work += static_cast<double>(std::max<int64_t>(count, 1) * kBlock) * group.matrix->in *
            group.matrix->out;
  }
  ParallelFor(threads, blocks.size(), static_cast<double>(x.bytes()), [&](int64_t i, int) {
    PackRows(x, sources, blocks[i].begin, blocks[i].rows, blocks[i].tiles);
  });
  // Neighbouring columns stay on one thread, where they were prefetched.
  const auto count = static_cast<int64_t>(items.size());
  const int64_t grain = std::clamp<int64_t>(count / (8 * threads), 1, 16);
  ParallelSpans(threads, count, grain, work, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) RunItem(items[i], activation, y);
  });
}

}  // namespace tessera
