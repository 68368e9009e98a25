// What operations work on: a Tensor is a view (dtype, dims, pointer) of row-major, gapless memory
// on the backend's device. It owns nothing. A HostTensor is the same for memory that the host can
// read, e.g. a memory-mapped checkpoint; a matrix may lie transposed there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

enum class DType : uint8_t {
  kFloat32,
  kBFloat16,
  kFloat16,
  kFloat8,  // E4M3 (OCP OFP8: no infinities), at most 448: of KV caches only
  kInt32,
  kInt64,
};

size_t DTypeBytes(DType dtype);
std::string_view DTypeName(DType dtype);  // "float32", "bfloat16", …

constexpr int kMaxRank = 4;

// The dims of a tensor, written in place or kept elsewhere. Owns nothing.
class Dims : public std::span<const int64_t> {
 public:
  Dims(std::initializer_list<int64_t> dims) : span(dims.begin(), dims.size()) {}
  Dims(const std::vector<int64_t>& dims) : span(dims) {}
};

struct Tensor {
  DType dtype = DType::kFloat32;
  int rank = 0;
  std::array<int64_t, kMaxRank> dims = {};
  void* data = nullptr;

  Tensor() = default;
  Tensor(DType dtype, Dims dims, void* data);

  bool empty() const { return data == nullptr; }
  int64_t elements() const;
  size_t bytes() const { return static_cast<size_t>(elements()) * DTypeBytes(dtype); }
  // All dims but the last multiplied together; the last.
  int64_t rows() const;
  int64_t cols() const;
  // Rows [begin, begin + count) of a rank-2 tensor.
  Tensor Rows(int64_t begin, int64_t count) const;
  // The same elements with other dims.
  Tensor Reshape(Dims dims) const;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

struct HostTensor {
  DType dtype = DType::kFloat32;
  std::vector<int64_t> dims;
  const void* data = nullptr;
  int64_t column_stride = 0;  // matrices only: 0, or element (r, c) lies at r + c · column_stride

  int64_t elements() const;
  size_t bytes() const { return static_cast<size_t>(elements()) * DTypeBytes(dtype); }
  std::string ShapeString() const;  // "[4, 128]"
};

}  // namespace tessera
