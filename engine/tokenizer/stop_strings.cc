#include "engine/tokenizer/stop_strings.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/base/utf8.h"

namespace tessera {
namespace {

// fallback[n]: the length of the longest proper beginning of text[0, n) that is also its end.
std::vector<size_t> MakeFallback(std::string_view text) {
  std::vector<size_t> fallback(text.size() + 1, 0);
  size_t length = 0;
  for (size_t i = 1; i < text.size(); ++i) {
    while (length > 0 && text[i] != text[length]) length = fallback[length];
    if (text[i] == text[length]) ++length;
    fallback[i + 1] = length;
  }
  return fallback;
}

}  // namespace

absl::StatusOr<StopStrings> StopStrings::Create(const std::vector<std::string>& stops) {
  StopStrings result;
  for (size_t i = 0; i < stops.size(); ++i) {
    const std::string field = fmt::format("stop[{}]", i);
    if (stops[i].empty()) return InvalidField(field, "a stop string must not be empty");
    if (const absl::Status valid = ValidateUtf8(stops[i]); !valid.ok()) {
      return InvalidField(field, std::string(StatusMessage(valid)));
    }
    result.stops_.push_back({stops[i], MakeFallback(stops[i]), 0});
  }
  return result;
}

size_t StopStrings::Advance(char byte) {
  size_t complete = 0;
  for (Stop& stop : stops_) {
    while (stop.matched > 0 && stop.text[stop.matched] != byte) {
      stop.matched = stop.fallback[stop.matched];
    }
    if (stop.text[stop.matched] == byte) ++stop.matched;
    if (stop.matched == stop.text.size()) complete = std::max(complete, stop.matched);
  }
  return complete;
}

StopStrings::Result StopStrings::Push(std::string_view text) {
  if (matched_) return {{}, true};
  for (const char byte : text) {
    held_.push_back(byte);
    const size_t complete = Advance(byte);
    if (complete == 0) continue;
    matched_ = true;
    held_.resize(held_.size() - complete);
    return {std::exchange(held_, {}), true};
  }
  size_t hold = 0;
  for (const Stop& stop : stops_) hold = std::max(hold, stop.matched);
  const size_t certain = held_.size() - hold;
  Result result{held_.substr(0, certain), false};
  held_.erase(0, certain);
  return result;
}

std::string StopStrings::Finish() { return std::exchange(held_, {}); }

}  // namespace tessera
