// Low-rank updates merged into weights at load: W + α/r · B·A (Hu et al. 2021, "LoRA", §4.1), in
// the file layout of PEFT.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/json_file.h"
#include "engine/checkpoint/stored_tensor.h"

namespace tessera {

struct LoraPair {
  StoredTensor a;  // [r, in]
  StoredTensor b;  // [out, r]
  double scale = 1;
};

// Which half of which module's pair a tensor is: "X.lora_A.weight" → {"X", true}. Nothing for other
// names.
struct LoraName {
  std::string module;
  bool is_a = false;
};
std::optional<LoraName> ParseLoraName(const std::string& name);

// α/r of a PEFT adapter_config.json (α/√r with use_rslora). What would make another product
// (use_dora, fan_in_fan_out, ranks or alphas that differ between modules) is refused by field.
absl::StatusOr<double> ReadLoraScale(JsonFields& adapter_config);

// values [out, in] += scale · B·A, computed in float32; a: [r, in], b: [out, r].
void AddLowRank(const std::vector<float>& a, const std::vector<float>& b, int64_t rank,
                double scale, float* values, int64_t out, int64_t in);

}  // namespace tessera
