// Matrix products of rows with packed weights: y = act(x Wᵀ + b). float32 and bfloat16 on AVX-512
// by oneDNN, but bfloat16 by amx_product.h where the processor has AMX; float16, and float32
// elsewhere, by panel_product.h.
//
// Invariant: a row's bits do not depend on how many rows are computed beside it. oneDNN 2.6.3 keeps
// it on AVX-512 when the layout of a weight is the same for every number of rows, as here.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/cpu/aligned_memory.h"
#include "engine/cpu/amx_product.h"
#include "engine/cpu/panel_product.h"

namespace tessera {

// One [out, in] weight with its bias, in the layout of the kernel that will use it.
class Matrix {
 public:
  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  size_t bytes() const {
    return bias_.bytes() + amx_.tiles.bytes() + panels_.panels.bytes() + dense_.bytes();
  }

 private:
  friend class MatrixProduct;
  int64_t in_ = 0;
  int64_t out_ = 0;
  AlignedMemory bias_;  // float32 [out], zeros for none
  // One of them, by the kernel.
  AmxMatrix amx_;
  PanelMatrix panels_;
  AlignedMemory dense_;  // oneDNN's
};

// Rows [begin, begin + rows) of x and y belong to one matrix.
struct MatrixRows {
  const Matrix* matrix = nullptr;
  int64_t begin = 0;
  int64_t rows = 0;
};

class MatrixProduct {
 public:
  // `dtype` float32, bfloat16 or float16: of x and of the packed weights.
  MatrixProduct(DType dtype, int threads);

  absl::StatusOr<Matrix> Pack(const LinearWeights& source);
  // x [n, in] → y [n, out] of `dtype` or float32. All matrices have the same shape. With `sources`
  // (int32 [n]), row i of the groups is row sources[i] of x. Scratch comes from the arena.
  void Run(std::span<const MatrixRows> groups, Tensor x, Tensor sources, Activation activation,
           Tensor y, Arena& arena);

 private:
  enum class Kernel { kOneDnn, kAmx, kPanels };
  struct Key {
    int64_t rows, in, out;
    Activation activation;
    DType result;
    auto operator<=>(const Key&) const = default;
  };
  struct Primitive {
    dnnl::matmul::primitive_desc desc;
    dnnl::matmul primitive;
  };
  using Entry = std::pair<Key, Primitive>;

  static Kernel Choose(DType dtype);
  dnnl::memory::desc Layout(int64_t in, int64_t out) const;
  Primitive Make(const Key& key) const;
  const Primitive& Find(const Key& key);
  absl::Status PackDense(const void* dense, Matrix& matrix);
  Tensor GatherRows(Tensor x, Tensor sources, Arena& arena) const;
  void RunOneDnn(const Matrix& matrix, Tensor x, Activation activation, Tensor y, Arena& arena);

  const DType dtype_;
  const int threads_;
  const Kernel kernel_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  // Primitives are slow to make: they are kept by shape, the most recently used first.
  std::list<Entry> recent_;
  std::map<Key, std::list<Entry>::iterator> primitives_;
};

}  // namespace tessera
