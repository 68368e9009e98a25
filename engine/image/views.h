// The views of an image that a vision encoder of several scales takes: the image at each scale,
// cut into tiles of the encoder's own size (S²: Shi et al. 2024, "When Do We Not Need Larger Vision
// Models?", and their package s2wrapper).
#pragma once

#include <span>
#include <vector>

namespace tessera {

// Pixels [3, size, size] in normalised values, where size is the largest scale → patches [views ·
// patches, 3 · patch_size²]: scale by scale, tile by tile from the top left. `scales`: ascending,
// in units of a tile's side; {1} is the image as one view.
std::vector<float> CutViews(std::span<const float> pixels, int size, std::span<const int> scales,
                            int patch_size);

// Planes [3, size, size] → [3, target, target] by bicubic interpolation between pixel centres,
// edges repeated, a = -0.75, without antialiasing: torch.nn.functional.interpolate(mode="bicubic"),
// unlike Pillow's.
std::vector<float> InterpolateBicubic(std::span<const float> pixels, int size, int target);

}  // namespace tessera
