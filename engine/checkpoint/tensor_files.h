// Which files of a directory are its checkpoint.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera {

struct TensorFiles {
  std::vector<std::filesystem::path> files;
  std::filesystem::path index;                  // empty where there is none
  std::map<std::string, std::string> promised;  // tensor name → file name, as the index says
  std::vector<std::string> warnings;            // of an index that is passed over
};

// The first of these that is there: model.safetensors, pytorch_model.bin,
// adapter_model.safetensors, adapter_model.bin (each as one file, as an index of shards, or as all
// of its numbered shards without an index), or the only *.pt. An index beside the whole file, or
// one whose shards are not there, is passed over, with a warning, where there is something else. A
// file is itself. NOT_FOUND names the directory and what was looked for.
absl::StatusOr<TensorFiles> FindTensorFiles(const std::filesystem::path& path);

}  // namespace tessera
