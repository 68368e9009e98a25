#include "engine/checkpoint/torch_archive.h"

#include <fmt/format.h>

#include <array>

#include "engine/base/status.h"
#include "engine/checkpoint/pickle.h"
#include "engine/checkpoint/zip_archive.h"

namespace tessera {
namespace {

constexpr size_t kMaxDims = 8;
constexpr int kMaxDepth = 32;            // of dicts in dicts
constexpr int64_t kMaxVisits = 1 << 18;  // of values, shared ones counted each time
constexpr size_t kMaxName = 512;

struct StorageType {
  std::string_view name;
  size_t bytes;
  std::optional<DType> dtype;
};

// torch/storage.py: _dtype_to_storage_type_map.
constexpr StorageType kStorages[] = {
    {"FloatStorage", 4, DType::kFloat32},
    {"BFloat16Storage", 2, DType::kBFloat16},
    {"HalfStorage", 2, DType::kFloat16},
    {"IntStorage", 4, DType::kInt32},
    {"LongStorage", 8, DType::kInt64},
    {"DoubleStorage", 8, {}},
    {"ShortStorage", 2, {}},
    {"CharStorage", 1, {}},
    {"ByteStorage", 1, {}},
    {"BoolStorage", 1, {}},
    {"ComplexFloatStorage", 8, {}},
    {"ComplexDoubleStorage", 16, {}},
};

// The first three are called, the others name storages in the order of kStorages.
constexpr std::string_view kGlobals[] = {
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.FloatStorage",
    "torch.BFloat16Storage",
    "torch.HalfStorage",
    "torch.IntStorage",
    "torch.LongStorage",
    "torch.DoubleStorage",
    "torch.ShortStorage",
    "torch.CharStorage",
    "torch.ByteStorage",
    "torch.BoolStorage",
    "torch.ComplexFloatStorage",
    "torch.ComplexDoubleStorage",
};
enum Global : int64_t { kOrderedDict, kRebuildTensor, kRebuildParameter, kFirstStorage };
static_assert(std::size(kGlobals) == kFirstStorage + std::size(kStorages));

absl::Status Bad(const std::string& what) { return absl::InvalidArgumentError(what); }

bool BeginsWith(std::string_view text, std::string_view beginning) {
  return text.substr(0, beginning.size()) == beginning;
}

// Whether strides are those of row-major elements without gaps. Those of dims of one element do not
// matter.
bool IsRowMajor(const std::vector<int64_t>& dims, const std::vector<int64_t>& strides) {
  int64_t expected = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    if (dims[i] != 1 && strides[i] != expected) return false;
    expected *= dims[i];
  }
  return true;
}

// Elements of `dims`, and elements from the first to behind the last under `strides`; nothing on
// overflow.
struct Extent {
  int64_t elements = 1;
  int64_t span = 1;
};
std::optional<Extent> ExtentOf(const std::vector<int64_t>& dims,
                               const std::vector<int64_t>& strides) {
  Extent extent;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == 0) return Extent{0, 0};
  }
  for (size_t i = 0; i < dims.size(); ++i) {
    int64_t reach = 0;
    if (__builtin_mul_overflow(extent.elements, dims[i], &extent.elements) ||
        __builtin_mul_overflow(dims[i] - 1, strides[i], &reach) ||
        __builtin_add_overflow(extent.span, reach, &extent.span)) {
      return std::nullopt;
    }
  }
  return extent;
}

absl::StatusOr<std::string_view> ContentOf(const ZipFiles& files, const std::string& name) {
  const auto found = files.find(name);
  if (found == files.end()) return Bad(name + " is missing");
  if (found->second.compressed) {
    return Bad(name + " is compressed; torch.save stores without compression");
  }
  return found->second.bytes;
}

// Walks the graph of data.pkl and collects its tensors.
class TensorCollector {
 public:
  TensorCollector(const Pickle& pickle, const ZipFiles& files, std::string root)
      : pickle_(pickle), files_(files), root_(std::move(root)) {}

  absl::StatusOr<StoredTensors> Collect();

 private:
  struct Storage {
    const StorageType* type = nullptr;
    std::string_view bytes;
    int64_t elements = 0;
  };

  absl::Status Error(const PickleNode& node, const std::string& what) const {
    return Bad(fmt::format("{}data.pkl: byte {}: {}", root_, node.offset, what));
  }
  bool IsCall(const PickleNode& node, Global global) const {
    return node.kind == PickleKind::kObject && pickle_.at(node.items[0]).integer == global;
  }
  bool IsDict(const PickleNode& node) const {
    return node.kind == PickleKind::kDict || IsCall(node, kOrderedDict);
  }
  absl::Status Visit(const PickleNode& node, const std::string& name, int depth);
  absl::Status VisitDict(const PickleNode& node, const std::string& name, int depth);
  absl::StatusOr<std::string> KeyText(const PickleNode& key) const;
  absl::StatusOr<StoredTensor> Tensor(const PickleNode& node) const;
  absl::StatusOr<Storage> StorageOf(const PickleNode& node) const;
  absl::StatusOr<std::vector<int64_t>> Sizes(const PickleNode& node) const;

  const Pickle& pickle_;
  const ZipFiles& files_;
  std::string root_;  // with the trailing slash
  StoredTensors tensors_;
  int64_t visits_ = 0;
};

absl::StatusOr<StoredTensors> TensorCollector::Collect() {
  const PickleNode& root = pickle_.at(pickle_.root);
  if (!IsDict(root)) return Error(root, "the archive holds no dict of tensors");
  RETURN_IF_ERROR(VisitDict(root, "", 0));
  return std::move(tensors_);
}

absl::Status TensorCollector::Visit(const PickleNode& node, const std::string& name, int depth) {
  if (depth > kMaxDepth) return Error(node, fmt::format("\"{}\": nested too deep", name));
  if (++visits_ > kMaxVisits) return Error(node, fmt::format("more than {} values", kMaxVisits));
  if (IsDict(node)) return VisitDict(node, name, depth);
  if (node.kind == PickleKind::kList || node.kind == PickleKind::kTuple) {
    for (size_t i = 0; i < node.items.size(); ++i) {
      RETURN_IF_ERROR(Visit(pickle_.at(node.items[i]), fmt::format("{}.{}", name, i), depth + 1));
    }
    return absl::OkStatus();
  }
  if (node.kind != PickleKind::kObject) return absl::OkStatus();  // a plain value
  auto tensor = Tensor(node);
  if (!tensor.ok()) return Annotate(tensor.status(), fmt::format("tensor \"{}\"", name));
  if (!tensors_.emplace(name, *std::move(tensor)).second) {
    return Error(node, fmt::format("tensor \"{}\" is there twice", name));
  }
  return absl::OkStatus();
}

absl::Status TensorCollector::VisitDict(const PickleNode& node, const std::string& name,
                                        int depth) {
  for (size_t i = node.kind == PickleKind::kDict ? 0 : 2; i < node.items.size(); i += 2) {
    ASSIGN_OR_RETURN(const std::string key, KeyText(pickle_.at(node.items[i])));
    const PickleNode& value = pickle_.at(node.items[i + 1]);
    const bool transparent = depth == 0 && key == "state_dict" && IsDict(value);
    const std::string inner = transparent ? "" : name.empty() ? key : name + "." + key;
    if (inner.size() > kMaxName) {
      return Error(node, fmt::format("a name of {} bytes", inner.size()));
    }
    RETURN_IF_ERROR(Visit(value, inner, depth + 1));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> TensorCollector::KeyText(const PickleNode& key) const {
  if (key.kind == PickleKind::kString) return std::string(key.text);
  if (key.kind == PickleKind::kInt) return std::to_string(key.integer);
  return Error(key, "a key of a dict is neither a string nor an integer");
}

// _rebuild_parameter(tensor, …) or _rebuild_tensor_v2(storage, offset, sizes, strides, …).
absl::StatusOr<StoredTensor> TensorCollector::Tensor(const PickleNode& node) const {
  const std::vector<uint32_t>& arguments = pickle_.at(node.items[1]).items;
  if (IsCall(node, kRebuildParameter) && arguments.size() == 3) {
    const PickleNode& inner = pickle_.at(arguments[0]);
    if (!IsCall(inner, kRebuildTensor)) return Error(node, "a parameter of no tensor");
    return Tensor(inner);
  }
  if (!IsCall(node, kRebuildTensor) || arguments.size() < 6 || arguments.size() > 7) {
    return Error(node, "no known way of rebuilding a tensor");
  }
  ASSIGN_OR_RETURN(const Storage storage, StorageOf(pickle_.at(arguments[0])));
  const PickleNode& offset = pickle_.at(arguments[1]);
  ASSIGN_OR_RETURN(const std::vector<int64_t> dims, Sizes(pickle_.at(arguments[2])));
  ASSIGN_OR_RETURN(const std::vector<int64_t> strides, Sizes(pickle_.at(arguments[3])));
  if (dims.size() != strides.size()) return Error(node, "as many strides as sizes are needed");
  if (offset.kind != PickleKind::kInt || offset.integer < 0 || offset.integer > storage.elements) {
    return Error(
        node, fmt::format("its offset lies outside the storage's {} elements", storage.elements));
  }
  const std::optional<Extent> extent = ExtentOf(dims, strides);
  if (!extent || extent->span > storage.elements - offset.integer) {
    return Error(node, fmt::format("shape {} with strides {} from element {} on does not fit into "
                                   "the storage's {} elements",
                                   ShapeString(dims), ShapeString(strides), offset.integer,
                                   storage.elements));
  }
  if (extent->elements > storage.elements) {
    return Error(node, fmt::format("shape {} repeats elements of a storage of {}",
                                   ShapeString(dims), storage.elements));
  }
  StoredTensor tensor;
  tensor.type = storage.type->name;
  tensor.dtype = storage.type->dtype;
  tensor.dims = dims;
  if (extent->elements > 0 && !IsRowMajor(dims, strides)) tensor.strides = strides;
  tensor.data = storage.bytes.data() + static_cast<size_t>(offset.integer) * storage.type->bytes;
  tensor.bytes = static_cast<size_t>(extent->elements) * storage.type->bytes;
  return tensor;
}

// The persistent id ("storage", type, key, device, elements).
absl::StatusOr<TensorCollector::Storage> TensorCollector::StorageOf(const PickleNode& node) const {
  if (node.kind != PickleKind::kPersistent) return Error(node, "no storage where one belongs");
  const PickleNode& id = pickle_.at(node.items[0]);
  if (id.kind != PickleKind::kTuple || id.items.size() != 5) return Error(node, "no storage's id");
  const PickleNode& type = pickle_.at(id.items[1]);
  const PickleNode& key = pickle_.at(id.items[2]);
  const PickleNode& elements = pickle_.at(id.items[4]);
  if (pickle_.at(id.items[0]).text != "storage" || type.kind != PickleKind::kGlobal ||
      type.integer < kFirstStorage || key.kind != PickleKind::kString ||
      key.text.size() > kMaxName || elements.kind != PickleKind::kInt || elements.integer < 0) {
    return Error(node, "no storage's id");
  }
  Storage storage;
  storage.type = &kStorages[type.integer - kFirstStorage];
  storage.elements = elements.integer;
  const std::string file = fmt::format("{}data/{}", root_, key.text);
  auto content = ContentOf(files_, file);
  if (!content.ok()) return Error(node, std::string(StatusMessage(content.status())));
  storage.bytes = *content;
  if (static_cast<uint64_t>(storage.elements) > storage.bytes.size() / storage.type->bytes) {
    return Error(node,
                 fmt::format("{} elements of torch.{} do not fit into the {} bytes of {}",
                             storage.elements, storage.type->name, storage.bytes.size(), file));
  }
  return storage;
}

absl::StatusOr<std::vector<int64_t>> TensorCollector::Sizes(const PickleNode& node) const {
  if (node.kind != PickleKind::kTuple || node.items.size() > kMaxDims) {
    return Error(node, fmt::format("no tuple of at most {} sizes", kMaxDims));
  }
  std::vector<int64_t> sizes;
  for (const uint32_t item : node.items) {
    const PickleNode& size = pickle_.at(item);
    if (size.kind != PickleKind::kInt || size.integer < 0) {
      return Error(node, "a size is no integer from 0 on");
    }
    sizes.push_back(size.integer);
  }
  return sizes;
}

// Files that are no such archive, by what they are instead.
absl::Status CheckMagic(std::string_view bytes) {
  constexpr std::string_view kLegacy("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
                                     14);
  constexpr size_t kTarMagicAt = 257;
  if (BeginsWith(bytes, kLegacy) ||
      (bytes.size() > kTarMagicAt && BeginsWith(bytes.substr(kTarMagicAt), "ustar"))) {
    return absl::UnimplementedError(
        "written by PyTorch before 1.6; load it and save it again with a newer one, or as "
        "safetensors");
  }
  if (!BeginsWith(bytes, "PK\x03\x04"))
    return Bad("no PyTorch archive: it does not begin with a zip header");
  return absl::OkStatus();
}

// The one directory, with a slash, in which data.pkl lies.
absl::StatusOr<std::string> FindRoot(const ZipFiles& files) {
  constexpr std::string_view kEnding = "/data.pkl";
  std::string root;
  for (const auto& [name, content] : files) {
    const size_t slash = name.find('/');
    if (slash == std::string::npos || std::string_view(name).substr(slash) != kEnding) continue;
    if (!root.empty()) return Bad(fmt::format("{} and {}data.pkl are both there", name, root));
    root = name.substr(0, slash + 1);
  }
  if (root.empty()) return Bad("no PyTorch archive: it has no data.pkl");
  if (files.contains(root + "constants.pkl")) {
    return absl::UnimplementedError(
        "a TorchScript program; save its state_dict with torch.save, or as safetensors");
  }
  const auto order = files.find(root + "byteorder");
  if (order != files.end() && order->second.bytes != "little") {
    return absl::UnimplementedError(
        "its numbers are big-endian; save it again on a little-endian machine");
  }
  return root;
}

}  // namespace

absl::StatusOr<StoredTensors> ReadTorchArchive(std::string_view bytes) {
  RETURN_IF_ERROR(CheckMagic(bytes));
  ASSIGN_OR_RETURN(const ZipFiles files, ReadZip(bytes));
  ASSIGN_OR_RETURN(const std::string root, FindRoot(files));
  ASSIGN_OR_RETURN(const std::string_view content, ContentOf(files, root + "data.pkl"));
  const auto pickle = ReadPickle(content, kGlobals);
  if (!pickle.ok()) return Annotate(pickle.status(), root + "data.pkl");
  return TensorCollector(*pickle, files, root).Collect();
}

}  // namespace tessera
