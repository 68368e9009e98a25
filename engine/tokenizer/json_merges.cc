#include "engine/tokenizer/json_merges.h"

#include <fmt/format.h>

#include <string>

#include "engine/base/status.h"
#include "engine/tokenizer/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;

struct Sides {
  std::string_view left, right;  // empty: not two tokens
};

Sides SidesOf(const json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()};
  }
  if (!merge.is_string()) return {};
  const std::string_view line = merge.get_ref<const std::string&>();
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
    return {};
  }
  return {line.substr(0, space), line.substr(space + 1)};
}

}  // namespace

absl::Status ForEachMerge(
    const json& merges,
    const std::function<absl::Status(std::string_view left, std::string_view right)>& take) {
  for (size_t i = 0; i < merges.size(); ++i) {
    const Sides sides = SidesOf(merges[i]);
    const absl::Status taken =
        sides.left.empty() || sides.right.empty()
            ? absl::InvalidArgumentError(Excerpt(merges[i]) + " is not two tokens")
            : take(sides.left, sides.right);
    if (!taken.ok()) return Annotate(taken, fmt::format("model.merges[{}]", i));
  }
  return absl::OkStatus();
}

}  // namespace tessera
