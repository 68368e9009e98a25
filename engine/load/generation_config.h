// What a request gets for the sampling fields that it leaves unset: what the model's authors
// recommend in generation_config.json, else values that change nothing. Sources: transformers'
// GenerationConfig for the file (greedy unless `do_sample`; a field that is null is absent); vLLM's
// `--generation-config auto` for the rule that each unset field is taken from the file on its own,
// so that a request that names a temperature still gets the file's top_k and top_p. vLLM does not
// read `do_sample`. Tests: tests/engine/load/generation_config_test.cc.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/api/generation_defaults.h"
#include "engine/api/request.h"

namespace tessera {

// Fields that the file does not name, or all where there is no file, are those of `otherwise`.
// INVALID_ARGUMENT names file, field and value of what is out of range. What asks for another way
// of decoding, or is not understood, adds to `warnings`.
absl::StatusOr<GenerationDefaults> ReadGenerationDefaults(const std::filesystem::path& file,
                                                          const GenerationDefaults& otherwise,
                                                          std::vector<std::string>& warnings);

// Sets what `params` leaves unset.
void ApplyDefaults(const GenerationDefaults& defaults, SamplingParams& params);

}  // namespace tessera
