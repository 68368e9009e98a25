// Matrix products: dense layers are grouped products of one expert. Which kernel computes a layer
// depends on the device and the layer's shape, never on the rows.
#include "cuda/cuda_backend.h"
#include "cuda/kernels/product_hopper.h"
#include "engine/base/check.h"

namespace tessera {
namespace {

cuda::Product MakeProduct(Tensor x, const DeviceWeights& weights, Tensor y) {
  cuda::Product product;
  product.x = x;
  product.places = y.rows();
  product.experts = weights.experts;
  product.weights = weights.data.data();
  product.format = weights.format;
  product.scales = weights.scale();
  product.out = weights.out;
  product.stride = weights.stride;
  product.bias = weights.bias();
  product.y = y;
  return product;
}

}  // namespace

void CudaBackend::Expect(const DeviceWeights& weights, bool gated, bool gathered) {
  const bool bytes = weights.format == WeightFormat::kFloat8W8A8;
  const bool fits = weights.maps && (bytes || weights.in % 8 == 0);  // HopperProductFits()
  if (!fits) return;
  tiles_.Expect({weights.experts, bytes ? weights.stride : weights.in, weights.out, weights.format,
                 gated, gathered});
}

// The product with its rows in 8 bits, as long as the weights' own.
cuda::Product CudaBackend::WithRowsOf8Bits(cuda::Product product) {
  const int64_t rows = product.x.rows();
  const Tensor numbers = New(DType::kFloat8, {rows, product.stride});
  const Tensor scales = New(DType::kFloat32, {rows});
  cuda::QuantizeRows(product.x, numbers, scales.as<float>(), stream_);
  product.x = numbers;
  product.row_scales = scales.as<float>();
  return product;
}

void CudaBackend::Run(const cuda::Product& product, const DeviceWeights& weights) {
  if (product.places == 0) return;
  const bool bytes = product.format == WeightFormat::kFloat8W8A8;
  const cuda::Product taken = bytes ? WithRowsOf8Bits(product) : product;
  if (weights.maps && cuda::HopperProductFits(taken)) {
    cuda::RunHopperProduct(taken, *weights.maps, tiles_.Choose(taken, fallbacks_), multiprocessors_,
                           stream_);
    return;
  }
  TESSERA_CHECK_MSG(!bytes, "weights in fp8-w8a8 were packed for no kernel");
  if (uses_hopper()) {
    fallbacks_.Note(weights.maps ? FallbackReason::kShape : FallbackReason::kTensorMap,
                    ShapeOf(product));
  }
  cuda::RunProduct(product, stream_);
}

void CudaBackend::DoLinear(Tensor x, const PackedLinear& weights, Activation activation, Tensor y) {
  const DeviceWeights& packed = static_cast<const CudaLinear&>(weights).weights;
  cuda::Product product = MakeProduct(x, packed, y);
  product.activation = activation;
  Run(product, packed);
}

void CudaBackend::DoExpertFfn(Tensor x, const PackedExperts& experts, const Routing& routing,
                              Tensor y) {
  const auto& packed = static_cast<const CudaExperts&>(experts);
  const Tensor inner = New(x.dtype, {y.rows(), experts.ffn});
  cuda::Product up = MakeProduct(x, packed.up, inner);
  up.rows = routing.sorted_rows.as<int32_t>();
  up.starts = routing.expert_starts.as<int32_t>();
  up.activation = packed.activation;
  up.gated = packed.gated;
  Run(up, packed.up);
  cuda::Product down = MakeProduct(inner, packed.down, y);
  down.starts = up.starts;
  Run(down, packed.down);
}

void CudaBackend::DoLoraLinear(Tensor x, const PackedLora& weights, const Routing& routing,
                               Tensor y) {
  const auto& packed = static_cast<const CudaLora&>(weights);
  const Tensor low = New(DType::kFloat32, {x.rows(), packed.a.out});
  const Tensor joined = New(x.dtype, {x.rows(), weights.in + packed.a.out});
  Run(MakeProduct(x, packed.a, low), packed.a);
  cuda::JoinLowRank(x, low, routing, weights.rank, packed.scale, joined, stream_);
  Run(MakeProduct(joined, packed.base_and_b, y), packed.base_and_b);
}

}  // namespace tessera
