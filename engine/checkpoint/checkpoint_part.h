// What a checkpoint is made of, as data: places in the order in which they are asked for a tensor,
// and how the names in each become the canonical ones that a model asks for. An architecture writes
// these into its ModelSpec; Checkpoint reads them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace tessera {

// One change of a name.
struct TensorRename {
  std::string from;               // what the name begins with
  std::optional<std::string> to;  // takes its place; nothing: the tensor is dropped
  bool anywhere = false;          // `from` may stand inside the name too; its first place counts

  bool operator==(const TensorRename&) const = default;
};

struct CheckpointPart {
  // A .safetensors, .bin, .pt or .pth file, or a directory of them (FindTensorFiles says which it
  // reads).
  std::filesystem::path path;
  // Applied in order, each once at most, each to what the ones before made of the name.
  std::vector<TensorRename> renames = {};
  // Only tensors whose name, before renaming, begins so are seen.
  std::string only = "";
  // α/r. Where it is set, "X.lora_A.weight" [r, in] and "X.lora_B.weight" [out, r] (also
  // "X.lora_A.default.weight") are not tensors of their own: "X.weight" [out, in], of whatever
  // part, becomes float32(W) + α/r · B·A (Hu et al. 2021, §4.1). See ReadLoraScale.
  std::optional<double> lora_scale = {};

  bool operator==(const CheckpointPart&) const = default;
};

}  // namespace tessera
