// The checks of a golden case, stage by stage. Tolerances are those that the golden data's README
// states.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "tests/golden_runner/model_case.h"
#include "tests/golden_runner/report.h"

namespace tessera::golden {

// Relative L2 distances of first-step logits in 16 bits from the official float32 ones: ours, and
// the official code's in bfloat16.
struct RoundingCost {
  std::vector<double> bfloat16;
  std::vector<double> float16;
  std::vector<double> official;
};

// Prompt text, token ids, pixels, image features, hidden states, router logits, first logits; by
// the model's own parts, float32.
void CheckTensors(const ModelCase& golden, Report& report);
// First-step logits in bfloat16, where the processor has it, and in float16, added to `cost`.
void MeasureRounding(const ModelCase& golden, RoundingCost& cost, Report& report);
// Tokens, text and finish through the engine: alone, all together, in chunks of 16, after a prefix
// hit, after preemption.
void CheckEngine(const ModelCase& golden, Report& report);
// The same through a server over TCP.
void CheckServer(const ModelCase& golden, Report& report);

// Decoding and fitting of image files, <directory>/expected.json.
void CheckImages(const std::filesystem::path& directory, Report& report);

// What an answer must equal; used for engine and server alike.
void CheckAnswer(const GoldenRequest& golden, const std::string& what,
                 const std::vector<int32_t>& tokens, const std::string& text,
                 const std::string& finish, Report& report);

}  // namespace tessera::golden
