#include "engine/checkpoint/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/checkpoint/json_file.h"
#include "engine/status.h"

namespace tessera {

namespace fs = std::filesystem;

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const fs::path& model_dir) {
  auto checkpoint = std::make_unique<Checkpoint>();
  checkpoint->model_dir_ = model_dir;
  const fs::path index = model_dir / "model.safetensors.index.json";
  const fs::path single = model_dir / "model.safetensors";
  std::error_code ignored;
  if (fs::exists(index, ignored)) {
    RETURN_IF_ERROR(checkpoint->AddShards(index));
  } else if (fs::exists(single, ignored)) {
    RETURN_IF_ERROR(checkpoint->AddFile(single));
  } else {
    return absl::NotFoundError(
        fmt::format("{}: neither model.safetensors nor model.safetensors.index.json is there",
                    model_dir.string()));
  }
  return checkpoint;
}

absl::Status Checkpoint::AddFile(const fs::path& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<Safetensors> file, Safetensors::Open(path));
  for (const auto& [name, tensor] : file->tensors()) {
    if (!tensors_.emplace(name, tensor).second) {
      return absl::InvalidArgumentError(
          fmt::format("{}: tensor \"{}\" is also in another shard", path.string(), name));
    }
  }
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

absl::Status Checkpoint::AddShards(const fs::path& index_path) {
  ASSIGN_OR_RETURN(const nlohmann::json index, ReadJsonFile(index_path));
  if (!index.contains("weight_map") || !index["weight_map"].is_object()) {
    return absl::InvalidArgumentError(fmt::format("{}: no weight_map", index_path.string()));
  }
  std::set<std::string> shards;
  for (const auto& [name, file] : index["weight_map"].items()) {
    const std::string shard = file.is_string() ? file.get<std::string>() : "";
    if (shard.empty() || fs::path(shard).filename() != shard) {
      return absl::InvalidArgumentError(
          fmt::format("{}: tensor \"{}\" names {} where a file of the same directory belongs",
                      index_path.string(), name, file.dump()));
    }
    shards.insert(shard);
  }
  for (const std::string& shard : shards) RETURN_IF_ERROR(AddFile(model_dir_ / shard));
  for (const auto& [name, file] : index["weight_map"].items()) {
    if (!tensors_.contains(name)) {
      return absl::InvalidArgumentError(fmt::format("{}: tensor \"{}\" is not in {}",
                                                    index_path.string(), name,
                                                    file.get<std::string>()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<HostTensor> Checkpoint::Take(const std::string& name,
                                            const std::vector<int64_t>& dims) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    const std::string closest = ClosestName(name);
    return absl::NotFoundError(fmt::format("{}: tensor \"{}\" is missing{}", model_dir_.string(),
                                           name, closest.empty() ? "" : "; there is \"" + closest + "\""));
  }
  const HostTensor& tensor = found->second;
  const bool fits = tensor.dims.size() == dims.size() &&
                    std::equal(dims.begin(), dims.end(), tensor.dims.begin(),
                               [](int64_t want, int64_t have) { return want < 0 || want == have; });
  if (!fits) {
    return absl::InvalidArgumentError(
        fmt::format("{}: tensor \"{}\" has shape {} where config.json asks for {}",
                    model_dir_.string(), name, tensor.ShapeString(),
                    HostTensor{tensor.dtype, dims, nullptr}.ShapeString()));
  }
  if (tensor.dtype == DType::kInt32 || tensor.dtype == DType::kInt64) {
    return absl::InvalidArgumentError(fmt::format("{}: tensor \"{}\" is {}, a float is needed",
                                                  model_dir_.string(), name,
                                                  DTypeName(tensor.dtype)));
  }
  taken_.insert(name);
  return tensor;
}

std::vector<std::string> Checkpoint::Unused() const {
  std::vector<std::string> unused;
  for (const auto& [name, tensor] : tensors_) {
    if (!taken_.contains(name)) unused.push_back(name);
  }
  return unused;
}

void Checkpoint::Release(const HostTensor& tensor) const {
  for (const auto& file : files_) {
    const std::string_view bytes = file->file().bytes();
    const char* data = static_cast<const char*>(tensor.data);
    if (data >= bytes.data() && data < bytes.data() + bytes.size()) {
      file->file().Release(tensor.data, tensor.bytes());
    }
  }
}

std::vector<const MappedFile*> Checkpoint::files() const {
  std::vector<const MappedFile*> files;
  for (const auto& file : files_) files.push_back(&file->file());
  return files;
}

int64_t Checkpoint::total_bytes() const {
  int64_t total = 0;
  for (const auto& [name, tensor] : tensors_) total += static_cast<int64_t>(tensor.bytes());
  return total;
}

// The untaken name that shares the longest beginning and end with `name`.
std::string Checkpoint::ClosestName(const std::string& name) const {
  std::string best;
  size_t best_score = name.size() / 2;
  for (const auto& [candidate, tensor] : tensors_) {
    if (taken_.contains(candidate)) continue;
    const size_t shorter = std::min(candidate.size(), name.size());
    size_t front = 0;
    while (front < shorter && candidate[front] == name[front]) ++front;
    size_t back = 0;
    while (back < shorter - front &&
           candidate[candidate.size() - 1 - back] == name[name.size() - 1 - back]) {
      ++back;
    }
    if (front + back > best_score) {
      best_score = front + back;
      best = candidate;
    }
  }
  return best;
}

}  // namespace tessera
