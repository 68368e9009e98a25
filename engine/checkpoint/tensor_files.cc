#include "engine/checkpoint/tensor_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "engine/base/json_file.h"
#include "engine/base/presence.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

struct FileName {
  std::string_view stem;
  std::string_view extension;
};

constexpr FileName kNames[] = {
    {"model", ".safetensors"},
    {"pytorch_model", ".bin"},
    {"adapter_model", ".safetensors"},
    {"adapter_model", ".bin"},
};

absl::StatusOr<TensorFiles> ReadIndex(const fs::path& path) {
  ASSIGN_OR_RETURN(const nlohmann::json index, ReadJsonFile(path));
  if (!index.contains("weight_map") || !index["weight_map"].is_object()) {
    return absl::InvalidArgumentError(fmt::format("{}: no weight_map", path.string()));
  }
  TensorFiles found;
  found.index = path;
  std::set<std::string> shards;
  for (const auto& [name, file] : index["weight_map"].items()) {
    const std::string shard = file.is_string() ? file.get<std::string>() : "";
    if (shard.empty() || shard == "." || shard == ".." || fs::path(shard).filename() != shard) {
      return absl::InvalidArgumentError(
          fmt::format("{}: tensor \"{}\" names {} where a file of the same directory belongs",
                      path.string(), name, file.dump()));
    }
    shards.insert(shard);
    found.promised.emplace(name, shard);
  }
  for (const std::string& shard : shards) found.files.push_back(path.parent_path() / shard);
  return found;
}

// How many of the files are not there.
absl::StatusOr<size_t> CountMissing(const std::vector<fs::path>& files) {
  size_t missing = 0;
  for (const fs::path& file : files) {
    ASSIGN_OR_RETURN(const bool there, IsThere(file));
    missing += there ? 0 : 1;
  }
  return missing;
}

std::string MissingShards(const fs::path& index, const fs::path& read) {
  return fmt::format("{} names files that are not there: {} is read", index.string(),
                     read.filename().string());
}

// Why `whole` is read and not what `index` beside it names; empty where that is the same file.
std::string PassedOver(const fs::path& index, const fs::path& whole) {
  const absl::StatusOr<TensorFiles> indexed = ReadIndex(index);
  const std::string name = whole.filename().string();
  if (!indexed.ok()) return fmt::format("{}: {} is read", StatusMessage(indexed.status()), name);
  if (indexed->files == std::vector{whole}) return "";
  const absl::StatusOr<size_t> missing = CountMissing(indexed->files);
  if (!missing.ok() || *missing > 0) return MissingShards(index, whole);
  return fmt::format("{} names other files: {} is read, as transformers does; keep one of them",
                     index.string(), name);
}

// Five digits; 0 for anything else.
int ShardNumber(std::string_view digits) {
  int number = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return 0;
    number = number * 10 + (c - '0');
  }
  return digits.size() == 5 ? number : 0;
}

// N of "<stem>-0000K-of-0000N<extension>"; 0 for other names.
int ShardCount(std::string_view file, const FileName& name) {
  constexpr std::string_view kOf = "-of-";
  constexpr size_t kDigits = 5;
  if (!file.starts_with(name.stem) || !file.ends_with(name.extension)) return 0;
  file.remove_prefix(name.stem.size());
  file.remove_suffix(name.extension.size());
  if (file.size() != 1 + kDigits + kOf.size() + kDigits || file[0] != '-') return 0;
  if (file.substr(1 + kDigits, kOf.size()) != kOf) return 0;
  const int number = ShardNumber(file.substr(1, kDigits));
  const int count = ShardNumber(file.substr(1 + kDigits + kOf.size()));
  return number >= 1 && number <= count ? count : 0;
}

// All numbered shards of `name`, by the number that those which are there tell.
std::vector<fs::path> NumberedShards(const fs::path& directory,
                                     const std::vector<std::string>& listing,
                                     const FileName& name) {
  int count = 0;
  for (const std::string& file : listing) count = std::max(count, ShardCount(file, name));
  std::vector<fs::path> shards;
  for (int i = 1; i <= count; ++i) {
    shards.push_back(directory /
                     fmt::format("{}-{:05}-of-{:05}{}", name.stem, i, count, name.extension));
  }
  return shards;
}

absl::StatusOr<std::vector<std::string>> List(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (auto entry = fs::directory_iterator(directory, error);
       !error && entry != fs::directory_iterator(); entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) {
    return absl::InvalidArgumentError(
        fmt::format("{}: cannot be listed: {}", directory.string(), error.message()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Files of one of the names, in whichever form; none where there is none.
struct Candidate {
  std::optional<TensorFiles> files;
  bool stale = false;  // an index none of whose shards is there
};

absl::StatusOr<Candidate> FindByName(const fs::path& directory,
                                     const std::vector<std::string>& listing,
                                     const FileName& name) {
  const fs::path whole = directory / fmt::format("{}{}", name.stem, name.extension);
  const fs::path index = fs::path(whole) += ".index.json";
  ASSIGN_OR_RETURN(const bool has_whole, IsThere(whole));
  ASSIGN_OR_RETURN(const bool has_index, IsThere(index));
  if (has_whole) {  // which transformers looks for first
    TensorFiles found{{whole}, {}, {}, {}};
    if (has_index) {
      if (std::string warning = PassedOver(index, whole); !warning.empty()) {
        found.warnings.push_back(std::move(warning));
      }
    }
    return Candidate{std::move(found)};
  }
  if (has_index) {
    ASSIGN_OR_RETURN(TensorFiles found, ReadIndex(index));
    ASSIGN_OR_RETURN(const size_t missing, CountMissing(found.files));
    const bool stale = missing > 0 && missing == found.files.size();
    return Candidate{std::move(found), stale};
  }
  std::vector<fs::path> shards = NumberedShards(directory, listing, name);
  if (shards.empty()) return Candidate{};
  return Candidate{TensorFiles{std::move(shards), {}, {}, {}}};
}

// The only *.pt.
absl::StatusOr<std::optional<TensorFiles>> FindArchive(const fs::path& directory,
                                                       const std::vector<std::string>& listing) {
  TensorFiles archives;
  for (const std::string& file : listing) {
    if (fs::path(file).extension() == ".pt") archives.files.push_back(directory / file);
  }
  if (archives.files.empty()) return std::nullopt;
  if (archives.files.size() == 1) return archives;
  return absl::InvalidArgumentError(
      fmt::format("{}: which .pt file is meant, {} or {}? Keep one", directory.string(),
                  archives.files[0].filename().string(), archives.files[1].filename().string()));
}

}  // namespace

absl::StatusOr<TensorFiles> FindTensorFiles(const fs::path& path) {
  RETURN_IF_ERROR(IsThere(path).status());
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return TensorFiles{{path}, {}, {}, {}};
  ASSIGN_OR_RETURN(const std::vector<std::string> listing, List(path));
  std::optional<TensorFiles> found, stale;
  for (size_t i = 0; i < std::size(kNames) && !found; ++i) {
    ASSIGN_OR_RETURN(Candidate candidate, FindByName(path, listing, kNames[i]));
    std::optional<TensorFiles>& slot = candidate.stale ? stale : found;
    if (!slot) slot = std::move(candidate.files);
  }
  if (!found) {
    ASSIGN_OR_RETURN(found, FindArchive(path, listing));
  }
  if (!found && stale) return *std::move(stale);  // opening the first shard says that it is missing
  if (!found) {
    return absl::NotFoundError(
        fmt::format("{}: neither model.safetensors, pytorch_model.bin (or an index of either), "
                    "adapter_model.safetensors, adapter_model.bin nor a .pt file is there",
                    path.string()));
  }
  if (stale) found->warnings.push_back(MissingShards(stale->index, found->files[0]));
  return *std::move(found);
}

}  // namespace tessera
