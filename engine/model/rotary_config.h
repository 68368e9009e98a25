// Rotary positions of a config.json (Su et al. 2021, arXiv:2104.09864), the one reader of their
// keys. A file spells them in one of two ways, or in both: `rope_theta` and `rope_scaling` {type or
// rope_type, …}, as transformers 4 and the authors' own classes write them, or `rope_parameters`
// {rope_theta, rope_type, …}, as transformers 5 does, perhaps once for each type of layer.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/base/json_file.h"
#include "engine/model/model_spec.h"

namespace tessera {

// What a family's configuration class means where a key is missing, and where it keeps what the
// others keep elsewhere.
struct RotaryFamily {
  std::optional<double> theta =
      10000;             // none: versions of the class differ, so a file has to name it
  double share = 1;      // of each head's dims that are rotated
  bool partial = false;  // whether a file may name another share
  std::vector<int> sections =
      {};  // of pairs of dims for each of three axes; empty: the family has one axis
  std::string type = "default";  // the one served, beside "default"
  std::string theta_key = "rope_theta";
  std::string share_key = "partial_rotary_factor";
};

struct RotaryConfig {
  double theta = 10000;
  double share = 1;
  std::vector<int> sections;

  bool operator==(const RotaryConfig&) const = default;
};

// Refused are scaled positions, settings that differ between types of layers or between the two
// spellings, and layer_types that are not full attention. Complaints are left in `config`.
RotaryConfig ReadRotary(JsonFields& config, const RotaryFamily& family);

// The same into a decoder. REQUIRES: decoder.head_dim.
void ReadRotary(JsonFields& config, const RotaryFamily& family, DecoderSpec& decoder);

}  // namespace tessera
