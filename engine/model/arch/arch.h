// The readers of config.json, one per architecture, and what a family of them shares.
#pragma once

#include "engine/model/arch/architectures.h"

namespace tessera {

absl::StatusOr<ModelSpec> ReadLlava(JsonFields& config, const ModelDirectories& directories);
absl::StatusOr<ModelSpec> ReadLlavaHf(JsonFields& config, const ModelDirectories& directories);
absl::StatusOr<ModelSpec> ReadLlavaOriginal(JsonFields& config,
                                            const ModelDirectories& directories);
absl::StatusOr<ModelSpec> ReadLlavaMole(JsonFields& config, const ModelDirectories& directories);
absl::StatusOr<ModelSpec> ReadMoeLlavaLlama(JsonFields& config,
                                            const ModelDirectories& directories);
absl::StatusOr<ModelSpec> ReadMoeLlavaMiniCpm(JsonFields& config,
                                              const ModelDirectories& directories);
absl::StatusOr<ModelSpec> ReadMoeLlavaMistral(JsonFields& config,
                                              const ModelDirectories& directories);
absl::StatusOr<ModelSpec> ReadMoeLlavaPhi(JsonFields& config, const ModelDirectories& directories);
absl::StatusOr<ModelSpec> ReadMoeLlavaQwen(JsonFields& config, const ModelDirectories& directories);
absl::StatusOr<ModelSpec> ReadMoeLlavaQwen2(JsonFields& config,
                                            const ModelDirectories& directories);
absl::StatusOr<ModelSpec> ReadMoeLlavaStableLm(JsonFields& config,
                                               const ModelDirectories& directories);
absl::StatusOr<ModelSpec> ReadQwen3Moe(JsonFields& config, const ModelDirectories& directories);
absl::StatusOr<ModelSpec> ReadQwen3VlMoe(JsonFields& config, const ModelDirectories& directories);

}  // namespace tessera
