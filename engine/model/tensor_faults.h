// Many tensors at fault, told by few lines: those whose names differ in numbers only, as the same
// matrix of every layer and expert, share one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace tessera {

class TensorFaults {
 public:
  // False where there are too many to go on.
  bool Add(const std::string& tensor, const absl::Status& fault);
  bool empty() const { return kinds_.empty(); }
  // In the order in which their first ones were found.
  std::vector<std::string> Lines() const;

 private:
  struct Kind {
    size_t order = 0;
    int64_t tensors = 0;
    std::string first;
  };
  // By the tensor's name without its numbers, and the fault's code.
  std::map<std::pair<std::string, absl::StatusCode>, Kind> kinds_;
  int64_t tensors_ = 0;
};

// The text with "#" for every number.
std::string WithoutNumbers(const std::string& text);

// Names, those that differ in numbers only from an earlier one counted behind it.
std::vector<std::string> GroupNames(const std::vector<std::string>& names);

}  // namespace tessera
