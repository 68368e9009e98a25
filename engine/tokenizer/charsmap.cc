#include "engine/tokenizer/charsmap.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/status.h"
#include "engine/base/utf8.h"

namespace tessera {
namespace {

// Bounds of what a table may hold; real ones stay far below.
constexpr size_t kMaxStringBytes = 256;
constexpr size_t kMaxReplacementBytes = 1024;
constexpr size_t kMaxTrieBytes = size_t{16} << 20;

// The parts of a unit of the double array.
bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t LabelOf(uint32_t unit) { return unit & (1u << 31 | 0xFF); }
uint32_t OffsetOf(uint32_t unit) { return (unit >> 10) << ((unit & 1u << 9) >> 6); }
uint32_t ValueOf(uint32_t leaf) { return leaf & ~(1u << 31); }

uint32_t LittleEndian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])) << (8 * i);
  }
  return value;
}

}  // namespace

absl::StatusOr<Charsmap> Charsmap::Parse(std::string_view blob) {
  if (blob.empty()) return Charsmap();
  const size_t size = blob.size() < 4 ? 0 : LittleEndian(blob);
  if (size == 0 || size % 4 != 0 || size > blob.size() - 4) {
    return absl::InvalidArgumentError(
        fmt::format("a trie of {} bytes does not fit into {} bytes", size, blob.size()));
  }
  if (size > kMaxTrieBytes) {
    return absl::InvalidArgumentError(
        fmt::format("a trie of {} bytes, at most {} are read", size, kMaxTrieBytes));
  }
  Charsmap map;
  for (size_t at = 4; at < 4 + size; at += 4) map.units_.push_back(LittleEndian(blob.substr(at)));
  map.replacements_ = std::string(blob.substr(4 + size));
  RETURN_IF_ERROR(map.CheckUnits());
  return map;
}

absl::Status Charsmap::CheckReplacement(uint32_t value) const {
  const std::string_view rest =
      std::string_view(replacements_).substr(std::min<size_t>(value, replacements_.size()));
  const size_t length = rest.substr(0, kMaxReplacementBytes + 1).find('\0');
  if (length == std::string_view::npos) {
    return absl::InvalidArgumentError(
        fmt::format("a replacement at {} does not end within {} bytes, nor within the table of {}",
                    value, kMaxReplacementBytes, replacements_.size()));
  }
  return Annotate(ValidateUtf8(rest.substr(0, length)),
                  fmt::format("the replacement at {}", value));
}

// Walks every unit once, depth first. Units may be shared (equal ends of strings), but none may
// lead back to itself: text could go round there for ever.
absl::Status Charsmap::CheckUnits() const {
  enum class State : char { kNew, kOpen, kDone };
  struct Visit {
    uint32_t position;
    uint32_t next_label;
  };
  std::vector<State> states(units_.size(), State::kNew);
  std::vector<Visit> open = {{0, 1}};
  states[0] = State::kOpen;
  while (!open.empty()) {
    const uint32_t position = open.back().position;
    const uint32_t base = position ^ OffsetOf(units_[position]);
    if (open.back().next_label == 1 && HasLeaf(units_[position])) {
      if (base >= units_.size()) {
        return absl::InvalidArgumentError(
            fmt::format("unit {}: its leaf {} is outside the trie", position, base));
      }
      RETURN_IF_ERROR(CheckReplacement(ValueOf(units_[base])));
    }
    uint32_t label = open.back().next_label;
    for (; label < 256; ++label) {
      const uint32_t child = base ^ label;
      if (child >= units_.size() || LabelOf(units_[child]) != label) continue;
      if (states[child] == State::kOpen) {
        return absl::InvalidArgumentError(fmt::format("unit {} leads back to itself", child));
      }
      if (states[child] == State::kNew) break;
    }
    if (label == 256) {
      states[position] = State::kDone;
      open.pop_back();
      continue;
    }
    open.back().next_label = label + 1;
    states[base ^ label] = State::kOpen;
    open.push_back({base ^ label, 1});
  }
  return absl::OkStatus();
}

Charsmap::Match Charsmap::Longest(std::string_view text) const {
  Match longest;
  if (units_.empty()) return longest;
  text = text.substr(0, kMaxStringBytes);
  uint32_t position = OffsetOf(units_[0]);
  for (size_t i = 0; i < text.size() && text[i] != '\0'; ++i) {
    position ^= static_cast<uint8_t>(text[i]);
    if (position >= units_.size()) break;
    const uint32_t unit = units_[position];
    if (LabelOf(unit) != static_cast<uint8_t>(text[i])) break;
    position ^= OffsetOf(unit);
    if (!HasLeaf(unit)) continue;
    longest.length = i + 1;
    longest.replacement = replacements_.data() + ValueOf(units_[position]);
  }
  return longest;
}

}  // namespace tessera
