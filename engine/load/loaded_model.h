// Everything that a model directory holds, ready to run: formats, tokenizer and weights on a
// device.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/api/options.h"
#include "engine/model/decoder.h"
#include "engine/model/model_spec.h"
#include "engine/model/vision_encoder.h"
#include "engine/prepare/preparer.h"
#include "engine/tokenizer/tokenizer.h"

namespace tessera {

struct LoadedModel {
  ModelSpec spec;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Decoder> decoder;
  std::unique_ptr<VisionEncoder> vision;  // null for models that take no images
  std::vector<int32_t> eos_ids;
  std::vector<std::string> stop_strings;  // that end an answer unless a request brings its own
  ModelInfo info;
  std::vector<std::string> unused_tensors;  // that nobody asked for
  std::vector<std::string> warnings;        // those of the specification, and of unused tensors

  ImageFormat image_format() const;
};

// Where weights go. A device that has more than one queue of work loads the vision encoder's by the
// queue that will run it.
struct ModelStores {
  ModelStores(WeightStore& both) : decoder(both), vision(both) {}
  ModelStores(WeightStore& decoder, WeightStore& vision) : decoder(decoder), vision(vision) {}

  WeightStore& decoder;
  WeightStore& vision;
};

// Errors name the file and, where one is at fault, the field or tensor. `progress` is called with
// bytes of weights done and in all. `headers`: see WeightLoader.
absl::StatusOr<std::unique_ptr<LoadedModel>> LoadModel(
    const ModelStores& stores, const ModelOptions& options,
    const std::function<void(int64_t, int64_t)>& progress, HeaderCheck* headers = nullptr);

}  // namespace tessera
