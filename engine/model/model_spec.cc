#include "engine/model/model_spec.h"

#include <algorithm>

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

int DecoderSpec::max_experts() const {
  return experts.empty() ? 0 : *std::max_element(experts.begin(), experts.end());
}

int DecoderSpec::moe_layers() const {
  return static_cast<int>(
      std::count_if(experts.begin(), experts.end(), [](int count) { return count > 0; }));
}

}  // namespace tessera
