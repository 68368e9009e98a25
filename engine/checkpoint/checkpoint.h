// The tensors of a model directory, by name: model.safetensors, or shards with model.safetensors.index.json. Take() checks dtype and
// shape and remembers what was used, so that tensors nobody asked for are reported by name.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/tensor.h"
#include "engine/checkpoint/safetensors.h"

namespace tessera {

class Checkpoint {
 public:
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::filesystem::path& model_dir);

  // The tensor, of the given dims (-1: any). NOT_FOUND names the closest-looking tensor there is; INVALID_ARGUMENT names both shapes.
  absl::StatusOr<HostTensor> Take(const std::string& name, const std::vector<int64_t>& dims);
  bool Contains(const std::string& name) const { return tensors_.contains(name); }
  // Says that the loader knows the tensor and does not need it.
  void Ignore(const std::string& name) { taken_.insert(name); }
  // Names nobody took, in order.
  std::vector<std::string> Unused() const;
  // The bytes were copied: let the kernel drop them.
  void Release(const HostTensor& tensor) const;

  const std::map<std::string, HostTensor>& tensors() const { return tensors_; }
  int64_t total_bytes() const;
  std::vector<const MappedFile*> files() const;

 private:
  absl::Status AddFile(const std::filesystem::path& path);
  absl::Status AddShards(const std::filesystem::path& index_path);
  std::string ClosestName(const std::string& name) const;

  std::filesystem::path model_dir_;
  std::vector<std::unique_ptr<Safetensors>> files_;
  std::map<std::string, HostTensor> tensors_;
  std::set<std::string> taken_;
};

}  // namespace tessera
