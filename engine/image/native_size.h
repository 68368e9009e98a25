// Images that keep their shape: the size they are resized to and the order of their patches. All
// numbers are data read from a checkpoint (ReadProcessorConfig); sizes equal those of
// transformers' Qwen2VLImageProcessor.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/image/image_processor.h"

namespace tessera {

struct NativeSize {
  int patch_size = 16;
  int merge = 2;   // side of the windows of patches that become one token
  int frames = 2;  // a patch holds the image this often, as a film that stands still
  int64_t min_pixels = 65536;
  int64_t max_pixels = 16777216;

  int side() const { return patch_size * merge; }  // of a window, in pixels
  int64_t longest_side() const;                    // in pixels, at most, of what FitGrid() gives
  int64_t window_pixels() const { return int64_t{side()} * side(); }  // that one token stands for

  bool operator==(const NativeSize&) const = default;
};

// Reads the settings of Qwen2VLImageProcessor and its twins (ReadProcessorConfig), colours
// included; what they leave out is as in that class. INVALID_ARGUMENT, naming the key, for another
// processor's or for steps that it does not have.
struct NativeProcessor {
  NativeSize size;
  ImageProcessor colours;  // mean and std
};
absl::StatusOr<NativeProcessor> ParseNativeProcessor(const nlohmann::json& settings);

// Patches of an image.
struct PatchGrid {
  int rows = 0;
  int cols = 0;

  int64_t patches() const { return int64_t{rows} * cols; }
};

// The grid of an image of width × height pixels: whole windows, at most max_pixels and at least
// min_pixels where its shape allows, its sides in proportion but for the rounding. INVALID_ARGUMENT
// for a strip more than 200 times as long as wide.
absl::StatusOr<PatchGrid> FitGrid(int width, int height, const NativeSize& size);

// Row and column of each patch in the order in which an encoder takes them: window by window, row
// by row inside.
std::vector<std::pair<int, int>> WindowOrder(const PatchGrid& grid, int merge);

// Normalised pixels [3, rows · patch_size, cols · patch_size] → [patches, 3 · frames · patch_size²]
// in the order of WindowOrder(); a patch holds colour by colour its frames, line by line.
std::vector<float> CutWindows(std::span<const float> pixels, const PatchGrid& grid,
                              const NativeSize& size);

}  // namespace tessera
