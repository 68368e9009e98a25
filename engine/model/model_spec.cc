#include "engine/model/model_spec.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tessera {
namespace {

void Replace(std::string& text, const std::string& what, int number) {
  const size_t at = text.find(what);
  if (at != std::string::npos) text.replace(at, what.size(), std::to_string(number));
}

}  // namespace

std::string ExpandName(std::string pattern, int layer, int expert) {
  Replace(pattern, "{layer}", layer);
  Replace(pattern, "{expert}", expert);
  return pattern;
}

int VisionSpec::token_grid() const {
  const int side = static_cast<int>(std::lround(std::sqrt(tokens())));
  return side * side == tokens() ? side : 0;
}

int VisionSpec::views() const {
  return std::accumulate(scales.begin(), scales.end(), 0,
                         [](int sum, int scale) { return sum + scale * scale; });
}

int ModelSpec::image_rows() const {
  if (!vision || vision->native) return 0;
  const int edges = static_cast<int>(projector.edges.size());
  if (projector.pool == 1) return vision->tokens() + edges;
  const int side = vision->token_grid() / projector.pool;
  return side * side + edges;
}

int DecoderSpec::max_experts() const {
  return experts.empty() ? 0 : *std::max_element(experts.begin(), experts.end());
}

int DecoderSpec::moe_layers() const {
  return static_cast<int>(
      std::count_if(experts.begin(), experts.end(), [](int count) { return count > 0; }));
}

}  // namespace tessera
