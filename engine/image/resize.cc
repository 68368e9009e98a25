// The algorithm is that of Pillow's src/libImaging/Resample.c (the order of its passes: pull
// request 9549, condition found by comparing with version 13.0), with two things added. Only a
// window of the result is computed. And the image may lie on a canvas of one colour: the weights
// that fall on the colour are summed once per output sample, and since sums are integers this
// equals resizing the painted canvas exactly.
#include "engine/image/resize.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/base/check.h"

namespace tessera {
namespace {

// Weights reach beyond 1, and a sum of their products with 8-bit samples must fit in 32 bits.
constexpr int kWeightBits = 32 - 8 - 2;
constexpr int32_t kHalf = 1 << (kWeightBits - 1);
constexpr double kSupport = 2.0;  // of the kernel, in source samples when not shrinking

// Keys' cubic convolution kernel (1981) with a = -0.5.
double CubicKernel(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

int32_t ToFixedPoint(double weight) {
  return static_cast<int32_t>(weight * (1 << kWeightBits) + (weight < 0 ? -0.5 : 0.5));
}

uint8_t ToPixel(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
}

// The stretch of one axis on which an image of `length` samples lies.
struct Span {
  int canvas;  // samples of the whole axis
  int offset;  // where the image begins
  int length;
};

// One sample of the result: weights[first .. first + count) go to the image's samples from
// `source` on, `outside` is the sum of the weights that fall beside the image.
struct Taps {
  int source = 0;
  int count = 0;
  size_t first = 0;
  int32_t outside = 0;
};

struct AxisPlan {
  std::vector<Taps> taps;  // one per sample of the window
  std::vector<int32_t> weights;

  const int32_t* WeightsOf(const Taps& t) const { return weights.data() + t.first; }
  int64_t TotalWeight(const Taps& t) const {
    int64_t total = t.outside;
    for (int i = 0; i < t.count; ++i) total += WeightsOf(t)[i];
    return total;
  }
};

// Plans samples [begin, begin + count) of an axis that is resized to `target` samples.
AxisPlan PlanAxis(const Span& span, int target, int begin, int count) {
  const double scale = static_cast<double>(span.canvas) / target;
  const double stretch = std::max(scale, 1.0);
  const double support = kSupport * stretch;
  const double inverse = 1.0 / stretch;
  AxisPlan plan;
  plan.taps.resize(count);
  std::vector<double> exact;
  for (int i = 0; i < count; ++i) {
    const double centre = (begin + i + 0.5) * scale;
    const int low = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int high = std::min(static_cast<int>(centre + support + 0.5), span.canvas);
    exact.resize(high - low);
    double sum = 0.0;
    for (int x = low; x < high; ++x) {
      exact[x - low] = CubicKernel((x - centre + 0.5) * inverse);
      sum += exact[x - low];
    }
    const int inside_low = std::clamp(span.offset, low, high);
    const int inside_high = std::clamp(span.offset + span.length, low, high);
    Taps& taps = plan.taps[i];
    taps.first = plan.weights.size();
    taps.source = inside_low - span.offset;
    taps.count = inside_high - inside_low;
    for (int x = low; x < high; ++x) {
      const double weight = sum != 0.0 ? exact[x - low] / sum : exact[x - low];
      const int32_t fixed = ToFixedPoint(weight);
      if (inside_low <= x && x < inside_high) {
        plan.weights.push_back(fixed);
      } else {
        taps.outside += fixed;
      }
    }
  }
  return plan;
}

using Colour = std::array<uint8_t, 3>;

// Rows of RGB pixels, [height, stride / 3, 3], not owned.
struct Rows {
  const uint8_t* data;
  size_t stride;  // in bytes
};

// What a pass makes of samples that all lie on the canvas.
Colour MixColour(const AxisPlan& plan, const Taps& taps, const Colour& colour) {
  const auto total = static_cast<int32_t>(plan.TotalWeight(taps));
  Colour mixed;
  for (int c = 0; c < 3; ++c) mixed[c] = ToPixel(kHalf + total * colour[c]);
  return mixed;
}

// One row of RGB pixels to plan.taps.size() pixels. `colour`: of the canvas beside the row.
void ResizeRow(const uint8_t* row, const AxisPlan& plan, const Colour& colour, uint8_t* target) {
  for (const Taps& taps : plan.taps) {
    int32_t red = kHalf + taps.outside * colour[0];
    int32_t green = kHalf + taps.outside * colour[1];
    int32_t blue = kHalf + taps.outside * colour[2];
    const uint8_t* pixel = row + size_t{3} * taps.source;
    const int32_t* weights = plan.WeightsOf(taps);
    for (int i = 0; i < taps.count; ++i, pixel += 3) {
      red += weights[i] * pixel[0];
      green += weights[i] * pixel[1];
      blue += weights[i] * pixel[2];
    }
    *target++ = ToPixel(red);
    *target++ = ToPixel(green);
    *target++ = ToPixel(blue);
  }
}

// Mixes rows into one of empty.size() bytes. `empty`: a row of the canvas above and below the
// image.
void MixRows(const Rows& rows, const AxisPlan& plan, const Taps& taps,
             const std::vector<uint8_t>& empty, std::vector<int32_t>& sums, uint8_t* target) {
  const size_t width = empty.size();
  sums.resize(width);
  for (size_t x = 0; x < width; ++x) sums[x] = kHalf + taps.outside * empty[x];
  for (int i = 0; i < taps.count; ++i) {
    const int32_t weight = plan.WeightsOf(taps)[i];
    const uint8_t* row = rows.data + (taps.source + i) * rows.stride;
    for (size_t x = 0; x < width; ++x) sums[x] += weight * row[x];
  }
  for (size_t x = 0; x < width; ++x) target[x] = ToPixel(sums[x]);
}

// A range of the image's samples.
struct Range {
  int begin = 0;
  int end = 0;
};

// Moves `plan` to the samples that it needs: those become its image.
Range TrimToNeeded(AxisPlan& plan) {
  Range needed{std::numeric_limits<int>::max(), 0};
  for (const Taps& taps : plan.taps) {
    if (taps.count == 0) continue;
    needed.begin = std::min(needed.begin, taps.source);
    needed.end = std::max(needed.end, taps.source + taps.count);
  }
  if (needed.end == 0) needed.begin = 0;
  for (Taps& taps : plan.taps) taps.source = taps.count == 0 ? 0 : taps.source - needed.begin;
  return needed;
}

// Both passes, the horizontal one first. `image`: the `height` rows that `rows` needs.
void ResizeColumnsFirst(const Rows& image, int height, const AxisPlan& columns,
                        const AxisPlan& rows, const Colour& colour,
                        const Cancellation& cancellation, Image& result) {
  const size_t stride = size_t{3} * result.width;
  std::vector<uint8_t> narrow(stride * height);
  for (int y = 0; y < height && !cancellation.Requested(); ++y) {
    ResizeRow(image.data + y * image.stride, columns, colour, narrow.data() + y * stride);
  }
  std::vector<uint8_t> empty;
  for (const Taps& taps : columns.taps) {
    const Colour mixed = MixColour(columns, taps, colour);
    empty.insert(empty.end(), mixed.begin(), mixed.end());
  }
  std::vector<int32_t> sums;
  for (int y = 0; y < result.height && !cancellation.Requested(); ++y) {
    MixRows({narrow.data(), stride}, rows, rows.taps[y], empty, sums,
            result.rgb.data() + y * stride);
  }
}

// Both passes, the vertical one first. `image`: rows of the `width` pixels that `columns` needs.
void ResizeRowsFirst(const Rows& image, int width, const AxisPlan& columns, const AxisPlan& rows,
                     const Colour& colour, const Cancellation& cancellation, Image& result) {
  std::vector<uint8_t> empty;
  for (int x = 0; x < width; ++x) empty.insert(empty.end(), colour.begin(), colour.end());
  std::vector<uint8_t> mixed(empty.size());
  std::vector<int32_t> sums;
  for (int y = 0; y < result.height && !cancellation.Requested(); ++y) {
    MixRows(image, rows, rows.taps[y], empty, sums, mixed.data());
    ResizeRow(mixed.data(), columns, MixColour(rows, rows.taps[y], colour),
              result.rgb.data() + size_t{3} * result.width * y);
  }
}

// Pillow 13's choice, by the sizes of the whole image and the whole result.
bool RowsFirst(const Canvas& canvas, int width, int height) {
  return canvas.height > height && canvas.height - height > 2 * (canvas.width - width);
}

}  // namespace

Image ResizeBicubic(const Image& image, int width, int height, const Cancellation& cancellation) {
  return ResizeBicubic(image, Canvas{image.width, image.height}, width, height,
                       Window{0, 0, width, height}, cancellation);
}

Image ResizeBicubic(const Image& image, const Canvas& canvas, int width, int height,
                    const Window& window, const Cancellation& cancellation) {
  TESSERA_CHECK(image.width > 0 && image.height > 0 && width > 0 && height > 0);
  TESSERA_CHECK(canvas.left >= 0 && image.width <= canvas.width - canvas.left);
  TESSERA_CHECK(canvas.top >= 0 && image.height <= canvas.height - canvas.top);
  TESSERA_CHECK(window.left >= 0 && window.width > 0 && window.width <= width - window.left);
  TESSERA_CHECK(window.top >= 0 && window.height > 0 && window.height <= height - window.top);
  AxisPlan columns =
      PlanAxis({canvas.width, canvas.left, image.width}, width, window.left, window.width);
  AxisPlan rows =
      PlanAxis({canvas.height, canvas.top, image.height}, height, window.top, window.height);
  const Range x = TrimToNeeded(columns);
  const Range y = TrimToNeeded(rows);
  const size_t stride = size_t{3} * image.width;
  const Rows needed{image.rgb.data() + y.begin * stride + size_t{3} * x.begin, stride};
  Image result{window.width, window.height,
               std::vector<uint8_t>(size_t{3} * window.width * window.height)};
  if (RowsFirst(canvas, width, height)) {
    ResizeRowsFirst(needed, x.end - x.begin, columns, rows, canvas.colour, cancellation, result);
  } else {
    ResizeColumnsFirst(needed, y.end - y.begin, columns, rows, canvas.colour, cancellation, result);
  }
  return result;
}

}  // namespace tessera
