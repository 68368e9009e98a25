#include "engine/prompt/prepared_prompt.h"

#include <algorithm>

namespace tessera {

void SpatialPositions::AddText(int32_t rows) {
  for (std::vector<int32_t>& axis : axes) {
    for (int32_t i = 0; i < rows; ++i) axis.push_back(next + i);
  }
  next += rows;
}

void SpatialPositions::AddImage(int32_t rows, int32_t columns) {
  for (int32_t row = 0; row < rows; ++row) {
    for (int32_t column = 0; column < columns; ++column) {
      axes[0].push_back(next);
      axes[1].push_back(next + row);
      axes[2].push_back(next + column);
    }
  }
  next += std::max(rows, columns);
}

int32_t SpatialPositions::At(size_t axis, int32_t row) const {
  const auto prompt = static_cast<int32_t>(axes[axis].size());
  return row < prompt ? axes[axis][static_cast<size_t>(row)] : next + row - prompt;
}

}  // namespace tessera
