// Bicubic resizing, bit-exact with Image.resize(size, BICUBIC) of Pillow 13 on RGB: a = -0.5,
// antialiased (the kernel widens when shrinking), two passes with 8-bit pixels between them,
// weights in fixed point with 22 bits.
//
// Because of the rounding in between, the order of the passes shows in the result. Pillow 13 runs
// the vertical pass first when height - target height > max(0, 2 * (width - target width)); older
// versions never do, so they differ by a few levels on tall images that are stretched or cropped.
// Squares, and so padded images, are the same in all versions.
#pragma once

#include <array>
#include <cstdint>

#include "engine/base/cancellation.h"
#include "engine/image/image.h"

namespace tessera {

// A plane of one colour on which an image lies, all of it inside, at (left, top). It is never
// stored.
struct Canvas {
  int width = 0;
  int height = 0;
  int left = 0;
  int top = 0;
  std::array<uint8_t, 3> colour{};
};

// A part of the resized image, all of it inside.
struct Window {
  int left = 0;
  int top = 0;
  int width = 0;
  int height = 0;
};

// The whole image at [height, width, 3]. Once `cancellation` asks for it, the rows that are not
// done yet are left as they are.
Image ResizeBicubic(const Image& image, int width, int height,
                    const Cancellation& cancellation = kNeverCancelled);

// `window` of what `canvas` with `image` on it becomes at [height, width, 3]. Time and memory
// follow the image and the window, whatever the size of canvas and result.
Image ResizeBicubic(const Image& image, const Canvas& canvas, int width, int height,
                    const Window& window, const Cancellation& cancellation = kNeverCancelled);

}  // namespace tessera
