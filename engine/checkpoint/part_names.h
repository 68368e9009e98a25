// The tensors of one part under their canonical names, while its files are read one after the
// other.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "engine/checkpoint/checkpoint_part.h"
#include "engine/checkpoint/lora.h"
#include "engine/checkpoint/tensor_file.h"

namespace tessera {

// The canonical name; nothing for a tensor that the part leaves out.
std::optional<std::string> CanonicalName(const CheckpointPart& part, const std::string& name);

class PartNames {
 public:
  explicit PartNames(const CheckpointPart& part) : part_(part) {}

  // Refuses two tensors of one name.
  absl::Status Add(const TensorFile& file);
  // Refuses halves of LoRA pairs. To be called after the last file.
  absl::Status PairLora();

  const StoredTensors& tensors() const { return tensors_; }
  const std::map<std::string, LoraPair>& lora() const { return lora_; }  // by module

 private:
  struct Halves {
    std::optional<StoredTensor> a;
    std::optional<StoredTensor> b;
  };
  absl::Status AddTensor(const std::string& own_name, const StoredTensor& tensor);

  const CheckpointPart& part_;
  StoredTensors tensors_;
  std::map<std::string, std::string> own_names_;  // by canonical name
  std::map<std::string, Halves> halves_;          // by module
  std::map<std::string, LoraPair> lora_;
};

}  // namespace tessera
