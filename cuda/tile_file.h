// Tile tables as JSON:
//   {"format": 1, "kernels": 2, "gpu": "…", "multiprocessors": 132, "products": [
//     {"experts": 128, "in": 2048, "out": 1536, "gated": true, "gathered": true,
//      "weights": "activations" | "fp8" | "int8" | "int4" | "fp8-w8a8",
//      "tiles": [[rows, places], …]}, …]}
// Nothing in a file is trusted. Tests: tests/cuda/tile_table_test.cc.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cuda/tile_table.h"

namespace tessera {

// What a table was measured with.
struct TileDevice {
  std::string gpu;
  int multiprocessors = 0;
  int kernels = cuda::kHopperKernels;
  bool operator==(const TileDevice&) const = default;
};

struct TileFile {
  TileDevice device;
  TileTable table;
};

// INVALID_ARGUMENT where anything is not as it must be: every tile has a kernel.
absl::StatusOr<TileFile> ParseTiles(std::string_view json);
std::string FormatTiles(const TileFile& file);

// "tiles-nvidia_h200.json" of "NVIDIA H200".
std::string TileFileName(const std::string& gpu);

// NOT_FOUND where there is no such file.
absl::StatusOr<TileFile> ReadTiles(const std::filesystem::path& path);
// Makes the directory where needed; the file is there as a whole or as it was.
absl::Status WriteTiles(const std::filesystem::path& path, const TileFile& file);

}  // namespace tessera
