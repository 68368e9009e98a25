// A tensor as a file holds it. It owns nothing: its bytes are the mapped file's.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/backend/tensor.h"

namespace tessera {

struct StoredTensor {
  std::string type;            // the element type's name in its file: "F16", "HalfStorage"
  std::optional<DType> dtype;  // nothing: a type that no model here computes with
  std::vector<int64_t> dims;
  std::vector<int64_t> strides;  // in elements, one per dim; empty: row-major without gaps
  const void* data = nullptr;    // the first element, at any address
  size_t bytes = 0;              // of all elements

  // A view of a row-major tensor that has a dtype.
  HostTensor View() const { return {*dtype, dims, data}; }
};

// float32, bfloat16 or float16.
bool IsFloat(const StoredTensor& tensor);

// Writes the elements of a tensor with strides in row-major order: `tensor.bytes` bytes.
void CopyRowMajor(const StoredTensor& tensor, std::byte* out);

inline std::string ShapeString(const std::vector<int64_t>& dims) {
  return HostTensor{DType::kFloat32, dims, nullptr}.ShapeString();  // "[4, 128]"
}

using StoredTensors = std::map<std::string, StoredTensor>;

}  // namespace tessera
