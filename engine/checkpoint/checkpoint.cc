#include "engine/checkpoint/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "engine/base/status.h"
#include "engine/checkpoint/part_names.h"
#include "engine/checkpoint/tensor_files.h"
#include "engine/checkpoint/to_floats.h"

namespace tessera {

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(
    const std::vector<CheckpointPart>& parts) {
  auto checkpoint = std::make_unique<Checkpoint>();
  for (const CheckpointPart& part : parts) {
    checkpoint->place_ += (checkpoint->place_.empty() ? "" : ", ") + part.path.string();
    RETURN_IF_ERROR(checkpoint->AddPart(part));
  }
  RETURN_IF_ERROR(checkpoint->CheckLora());
  return checkpoint;
}

namespace {

absl::Status MissingFile(const TensorFiles& found, const std::filesystem::path& path) {
  const std::string wanted =
      found.index.empty()
          ? fmt::format("it would be one of {} files of tensors", found.files.size())
          : fmt::format("it would hold tensors that {} names", found.index.string());
  return absl::NotFoundError(
      fmt::format("{} is not there; {}: download it", path.string(), wanted));
}

}  // namespace

absl::Status Checkpoint::AddPart(const CheckpointPart& part) {
  ASSIGN_OR_RETURN(const TensorFiles found, FindTensorFiles(part.path));
  warnings_.insert(warnings_.end(), found.warnings.begin(), found.warnings.end());
  PartNames names(part);
  std::set<std::string> stored;
  for (const std::filesystem::path& path : found.files) {
    auto opened = TensorFile::Open(path);
    if (absl::IsNotFound(opened.status())) return MissingFile(found, path);
    ASSIGN_OR_RETURN(std::unique_ptr<TensorFile> file, std::move(opened));
    RETURN_IF_ERROR(names.Add(*file));
    for (const auto& [name, tensor] : file->tensors()) stored.insert(name);
    files_.push_back(std::move(file));
  }
  for (const auto& [name, file] : found.promised) {
    if (!stored.contains(name)) {
      return absl::InvalidArgumentError(
          fmt::format("{}: tensor \"{}\" is not in {}", found.index.string(), name, file));
    }
  }
  RETURN_IF_ERROR(names.PairLora());
  tensors_.insert(names.tensors().begin(), names.tensors().end());
  for (const auto& [module, pair] : names.lora()) lora_[module + ".weight"].push_back(pair);
  return absl::OkStatus();
}

// Every pair fits its weight. A weight has two dims, at least one pair, and B · A its shape.
absl::Status Checkpoint::CheckLora() const {
  for (const auto& [name, pairs] : lora_) {
    const auto found = tensors_.find(name);
    for (const LoraPair& pair : pairs) {
      const auto refuse = [&](const std::string& why) {
        return absl::InvalidArgumentError(
            fmt::format("{}: {}", FileOf(pair.a).path().string(), why));
      };
      if (found == tensors_.end()) {
        return refuse(fmt::format(
            "LoRA for \"{}\", which is in none of {}; is the base model's directory given?", name,
            place_));
      }
      const StoredTensor& weight = found->second;
      const bool fits = weight.dims.size() == 2 && pair.a.dims.size() == 2 &&
                        pair.b.dims.size() == 2 && pair.a.dims[0] == pair.b.dims[1] &&
                        pair.a.dims[1] == weight.dims[1] && pair.b.dims[0] == weight.dims[0];
      if (!fits || !IsFloat(weight) || !IsFloat(pair.a) || !IsFloat(pair.b)) {
        return refuse(fmt::format("LoRA for \"{}\": A {} {} and B {} {} do not make {} {}", name,
                                  pair.a.type, ShapeString(pair.a.dims), pair.b.type,
                                  ShapeString(pair.b.dims), weight.type, ShapeString(weight.dims)));
      }
    }
  }
  return absl::OkStatus();
}

// Finds a tensor, checks it and marks it as taken.
absl::StatusOr<const StoredTensor*> Checkpoint::Claim(const std::string& name,
                                                      const std::vector<int64_t>& dims) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    const std::string closest = ClosestName(name);
    return absl::NotFoundError(
        fmt::format("{}: tensor \"{}\" is missing{}", place_, name,
                    closest.empty() ? "" : "; there is \"" + closest + "\""));
  }
  const StoredTensor& tensor = found->second;
  const bool fits = tensor.dims.size() == dims.size() &&
                    std::equal(dims.begin(), dims.end(), tensor.dims.begin(),
                               [](int64_t want, int64_t have) { return want < 0 || want == have; });
  if (!fits) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: tensor \"{}\" has shape {} where config.json asks for {}",
        FileOf(tensor).path().string(), name, ShapeString(tensor.dims), ShapeString(dims)));
  }
  if (!IsFloat(tensor)) {
    return absl::InvalidArgumentError(
        fmt::format("{}: tensor \"{}\" is {}; float32, bfloat16 or float16 is needed",
                    FileOf(tensor).path().string(), name,
                    tensor.dtype ? DTypeName(*tensor.dtype) : tensor.type));
  }
  taken_.insert(name);
  return &tensor;
}

absl::StatusOr<HostTensor> Checkpoint::Take(const std::string& name,
                                            const std::vector<int64_t>& dims) {
  ASSIGN_OR_RETURN(const StoredTensor* tensor, Claim(name, dims));
  const auto pairs = lora_.find(name);
  return pairs == lora_.end() ? RowMajor(*tensor) : Merged(*tensor, pairs->second);
}

absl::StatusOr<HostTensor> Checkpoint::TakeHeader(const std::string& name,
                                                  const std::vector<int64_t>& dims) {
  ASSIGN_OR_RETURN(const StoredTensor* tensor, Claim(name, dims));
  return HostTensor{*tensor->dtype, tensor->dims, nullptr};
}

HostTensor Checkpoint::RowMajor(const StoredTensor& tensor) {
  if (tensor.strides.empty()) return tensor.View();
  std::byte* data = Own(tensor.bytes);
  CopyRowMajor(tensor, data);
  return {*tensor.dtype, tensor.dims, data};
}

HostTensor Checkpoint::Merged(const StoredTensor& weight, const std::vector<LoraPair>& pairs) {
  const auto floats = [this](const StoredTensor& tensor) {
    const HostTensor source = RowMajor(tensor);
    std::vector<float> values = ToFloats(source);
    Release(source);
    return values;
  };
  std::vector<float> values = floats(weight);
  for (const LoraPair& pair : pairs) {
    AddLowRank(floats(pair.a), floats(pair.b), pair.a.dims[0], pair.scale, values.data(),
               weight.dims[0], weight.dims[1]);
  }
  std::byte* data = Own(values.size() * sizeof(float));
  std::memcpy(data, values.data(), values.size() * sizeof(float));
  return {DType::kFloat32, weight.dims, data};
}

std::byte* Checkpoint::Own(size_t bytes) {
  auto memory = std::make_unique_for_overwrite<std::byte[]>(bytes);
  std::byte* data = memory.get();
  owned_.emplace(data, std::move(memory));
  return data;
}

std::vector<std::string> Checkpoint::Unused() const {
  std::vector<std::string> unused;
  for (const auto& [name, tensor] : tensors_) {
    if (!taken_.contains(name)) unused.push_back(name);
  }
  return unused;
}

void Checkpoint::Release(const HostTensor& tensor) {
  if (owned_.erase(tensor.data) > 0) return;
  for (const auto& file : files_) {
    if (file->Holds(tensor.data)) file->file().Release(tensor.data, tensor.bytes());
  }
}

absl::Status Checkpoint::CheckUnchanged() const {
  for (const auto& file : files_) RETURN_IF_ERROR(file->file().CheckUnchanged());
  return absl::OkStatus();
}

std::vector<const MappedFile*> Checkpoint::files() const {
  std::vector<const MappedFile*> files;
  for (const auto& file : files_) files.push_back(&file->file());
  return files;
}

// Every tensor is in one of the files, one without elements perhaps at the end of the last.
const TensorFile& Checkpoint::FileOf(const StoredTensor& tensor) const {
  for (const auto& file : files_) {
    if (file->Holds(tensor.data)) return *file;
  }
  return *files_.back();
}

int64_t Checkpoint::total_bytes() const {
  int64_t total = 0;
  for (const auto& [name, tensor] : tensors_) total += static_cast<int64_t>(tensor.bytes);
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
