// Image files made by a test: blank ones that are small whatever their size, noisy ones, JPEGs of
// many scans.
#pragma once

#include <string>

#include "engine/prepare/preparer.h"

namespace tessera::testing {

// 8-bit RGB.
std::string BlankPng(int width, int height);
// Lossless, 28 bytes.
std::string BlankWebp(int width, int height);
// Lossless or lossy, of random pixels.
std::string NoisyWebp(int width, int height, bool lossless);
// Progressive, of a colour gradient, without subsampling. 4 ≤ scans ≤ 20.
std::string ProgressiveJpeg(int width, int height, int scans);
// A blank progressive JPEG of a few kilobytes whose header claims `width` × `height`, the last of
// its scans repeated until there are `scans`.
std::string RepeatedScansJpeg(int width, int height, int scans);

// The images' prompt, without the images.
absl::StatusOr<PreparedPrompt> PromptOf(const Preparer& preparer, const Request& request);

}  // namespace tessera::testing
