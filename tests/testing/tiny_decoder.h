// Small decoders with random weights: every tensor that a DecoderSpec names, written as a
// checkpoint, and what the whole decoder computes of them in double precision, as plainly as its
// formulas (the judge of engine/model/decoder).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/model/model_spec.h"
#include "tests/testing/reference_ops.h"

namespace tessera::testing {

class TinyDecoder {
 public:
  struct Weights {
    std::vector<int64_t> dims;
    std::vector<float> values;
  };

  TinyDecoder(const DecoderSpec& spec, int64_t vocabulary);

  // By name; a test may take some away or change them before Write().
  std::map<std::string, Weights>& tensors() { return tensors_; }
  // Writes model.safetensors, float32.
  void Write(const std::filesystem::path& directory) const;

  // Logits [T, vocabulary] of one sequence, the first `prompt_rows` of whose ids are its prompt's.
  reference::Values Logits(const std::vector<int32_t>& ids, int64_t prompt_rows,
                           bool has_images) const;

 private:
  using Values = reference::Values;

  void AddWeights(const std::string& name, int64_t out, int64_t in);
  void AddMatrix(const std::string& name, int64_t out, int64_t in, bool biased);
  void AddVector(const std::string& name, int64_t count, float offset);
  void AddNorm(const std::string& name);
  void AddFfn(const std::string& prefix);
  void AddLoraFfn(int layer);
  void AddLayer(int layer);

  Values Of(const std::string& name) const;  // empty where there is none
  // "<name>.weight" of all names stacked, and their biases.
  Values Linear(const Values& x, const std::vector<std::string>& names, int64_t in) const;
  Values Norm(const Values& x, const std::string& name) const;
  Values Attention(const Values& normed, int layer, int64_t prompt_rows) const;
  Values Ffn(const Values& normed, const std::string& prefix) const;
  Values Experts(const Values& normed, int layer, int64_t prompt_rows) const;
  Values LoraFfn(const Values& normed, int layer) const;
  Values Mlp(const Values& normed, int layer, int64_t prompt_rows) const;

  DecoderSpec spec_;
  int64_t vocabulary_;
  std::map<std::string, Weights> tensors_;
};

}  // namespace tessera::testing
