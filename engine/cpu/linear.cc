// Dense layers.
#include "engine/base/status.h"
#include "engine/cpu/cpu_backend.h"

namespace tessera {
namespace {

class CpuLinear : public PackedLinear {
 public:
  explicit CpuLinear(Matrix matrix) : matrix_(std::move(matrix)) { bytes = matrix_.bytes(); }
  const Matrix& matrix() const { return matrix_; }

 private:
  Matrix matrix_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PackedLinear>> CpuBackend::DoPackLinear(
    const LinearWeights& source) {
  ASSIGN_OR_RETURN(Matrix matrix, product_.Pack(source));
  return std::make_unique<CpuLinear>(std::move(matrix));
}

void CpuBackend::DoLinear(Tensor x, const PackedLinear& weights, Activation activation, Tensor y) {
  const MatrixRows all = {&static_cast<const CpuLinear&>(weights).matrix(), 0, x.rows()};
  product_.Run({&all, 1}, x, {}, activation, y, arena_);
}

}  // namespace tessera
