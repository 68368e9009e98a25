// Whether a model directory could be served, and what that would take, from its headers alone: the
// loading code itself runs over a backend that reads no data, so there is no second description of
// a checkpoint's tensors. Tests: tests/engine/load/model_check_test.cc.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/api/options.h"
#include "engine/model/weight_loader.h"

namespace tessera {

struct ModelCheck {
  // Bytes of weights and tables, without a device's padding, and of the KV cache.
  struct Memory {
    DType dtype = DType::kFloat32;
    int64_t weight_bytes = 0;
    int64_t kv_bytes_per_token = 0;
  };

  HeaderCheck headers;            // its faults are among `faults`
  std::optional<ModelInfo> info;  // of what config.json asks for; none when that could not be told
  std::vector<Memory> memory;     // one per dtype
  int64_t fp8_kv_bytes_per_token = 0;
  std::vector<std::string> unused;  // tensors that nobody asked for
  std::vector<std::string> warnings;
  std::vector<std::string> faults;  // why it cannot be served

  bool servable() const { return faults.empty(); }
};

ModelCheck CheckModel(const ModelOptions& options);

// Lines of "key: value", keys that can occur more than once last: warning, unused_tensor, fault.
// Ends with "servable: yes" or "no".
std::string FormatCheck(const ModelCheck& check);

}  // namespace tessera
