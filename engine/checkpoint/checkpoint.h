// The tensors of a model by name, whatever they lie in: one or many directories and files
// (CheckpointPart), renamed to one flat namespace, with low-rank updates merged. Take() checks
// dtype and shape and remembers what was used, so that tensors nobody asked for are reported by
// name. Used by the one thread that loads.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint_part.h"
#include "engine/checkpoint/lora.h"
#include "engine/checkpoint/stored_tensor.h"
#include "engine/checkpoint/tensor_file.h"

namespace tessera {

class Checkpoint {
 public:
  // A name that several parts hold is the first one's. Within a part it may stand once.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::vector<CheckpointPart>& parts);

  // The tensor, of the given dims (-1: any), row-major. Its bytes are the checkpoint's, until
  // Release(). One that is merged is float32, computed here. NOT_FOUND names the closest-looking
  // tensor there is; INVALID_ARGUMENT names both shapes.
  absl::StatusOr<HostTensor> Take(const std::string& name, const std::vector<int64_t>& dims);
  // The same without its bytes.
  absl::StatusOr<HostTensor> TakeHeader(const std::string& name, const std::vector<int64_t>& dims);
  bool Contains(const std::string& name) const { return tensors_.contains(name); }
  // Says that the loader knows the tensor and does not need it.
  void Ignore(const std::string& name) { taken_.insert(name); }
  // Names nobody took, in order.
  std::vector<std::string> Unused() const;
  // The bytes were copied: mapped ones may leave memory (and come back when read), computed ones
  // are gone.
  void Release(const HostTensor& tensor);

  const StoredTensors& tensors() const { return tensors_; }
  // Of what was found beside the files that are read.
  const std::vector<std::string>& warnings() const { return warnings_; }
  // INVALID_ARGUMENT, naming a file that was written to since Open().
  absl::Status CheckUnchanged() const;
  int64_t total_bytes() const;
  std::vector<const MappedFile*> files() const;

 private:
  absl::Status AddPart(const CheckpointPart& part);
  absl::Status CheckLora() const;
  absl::StatusOr<const StoredTensor*> Claim(const std::string& name,
                                            const std::vector<int64_t>& dims);
  const TensorFile& FileOf(const StoredTensor& tensor) const;
  HostTensor RowMajor(const StoredTensor& tensor);
  HostTensor Merged(const StoredTensor& weight, const std::vector<LoraPair>& pairs);
  std::byte* Own(size_t bytes);
  std::string ClosestName(const std::string& name) const;

  std::string place_;  // all parts' paths, for errors
  std::vector<std::unique_ptr<TensorFile>> files_;
  StoredTensors tensors_;
  std::map<std::string, std::vector<LoraPair>> lora_;  // by the weight they are added to
  std::set<std::string> taken_;
  std::vector<std::string> warnings_;
  std::map<const void*, std::unique_ptr<std::byte[]>> owned_;  // by address
};

}  // namespace tessera
