#include "engine/model/tensor_faults.h"

#include <fmt/format.h>

#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr size_t kMaxKinds = 500;
constexpr int64_t kMaxTensors = 1 << 20;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::string AndMore(const std::string& first, int64_t tensors) {
  if (tensors == 1) return first;
  return fmt::format("{} (and {} more, whose names differ in numbers only)", first, tensors - 1);
}

}  // namespace

std::string WithoutNumbers(const std::string& text) {
  std::string kind;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!IsDigit(text[i])) {
      kind += text[i];
    } else if (i == 0 || !IsDigit(text[i - 1])) {
      kind += '#';
    }
  }
  return kind;
}

bool TensorFaults::Add(const std::string& tensor, const absl::Status& fault) {
  if (++tensors_ > kMaxTensors) return false;
  const Kind first{kinds_.size(), 0, std::string(StatusMessage(fault))};
  Kind& kind = kinds_.try_emplace({WithoutNumbers(tensor), fault.code()}, first).first->second;
  ++kind.tensors;
  return kinds_.size() <= kMaxKinds;
}

std::vector<std::string> TensorFaults::Lines() const {
  std::vector<std::string> lines(kinds_.size());
  for (const auto& [key, kind] : kinds_) lines[kind.order] = AndMore(kind.first, kind.tensors);
  return lines;
}

std::vector<std::string> GroupNames(const std::vector<std::string>& names) {
  std::vector<std::string> lines;
  std::vector<int64_t> counts;
  std::map<std::string, size_t> places;
  for (const std::string& name : names) {
    const auto [place, added] = places.try_emplace(WithoutNumbers(name), lines.size());
    if (added) {
      lines.push_back(name);
      counts.push_back(0);
    }
    ++counts[place->second];
  }
  for (size_t i = 0; i < lines.size(); ++i) lines[i] = AndMore(lines[i], counts[i]);
  return lines;
}

}  // namespace tessera
