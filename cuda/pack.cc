// Weights from the host into the layout of the product kernels. They travel as they are stored, by
// way of one scratch buffer, and are converted, transposed, interleaved and quantised on the
// device.
#include <fmt/format.h>

#include <algorithm>

#include "cuda/cuda_backend.h"
#include "cuda/kernels/product_hopper.h"
#include "cuda/weights.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr int64_t kScratchBytes = int64_t{64} << 20;

// Where rows of a stack of pieces go.
struct Place {
  int64_t expert = 0;
  int64_t first_row = 0;  // in the stack
  int64_t first_col = 0;
  int64_t gated_ffn = 0;  // > 0: rows [0, gated_ffn) of the stack are gates of the ones behind
};

class Packer {
 public:
  // `hopper`: also for the kernels of product_hopper.h.
  Packer(DType dtype, WeightFormat format, bool hopper, gpu::StreamHandle stream, Staging& staging)
      : dtype_(dtype), format_(format), hopper_(hopper), stream_(stream), staging_(staging) {}

  // Zeroed weights, with biases where `biased`.
  absl::StatusOr<DeviceWeights> New(int64_t experts, int64_t out, int64_t in, bool biased) {
    DeviceWeights weights;
    weights.format = format_;
    weights.experts = experts;
    weights.out = out;
    weights.in = in;
    weights.stride = RoundUp(in, RowUnit(format_, dtype_));
    ASSIGN_OR_RETURN(weights.data, Zeros(experts * ExpertBytes(weights)));
    const auto row_floats = static_cast<int64_t>(sizeof(float)) * experts * out;
    if (quantized() && format_ != WeightFormat::kInt4) {
      ASSIGN_OR_RETURN(weights.scales, Zeros(row_floats));
    }
    if (biased) {
      ASSIGN_OR_RETURN(weights.biases, Zeros(row_floats));
    }
    cuda::HopperMaps maps;
    if (hopper_ &&
        cuda::MapHopperWeights(weights.data.data(), format_, experts, out, weights.stride, maps)) {
      weights.maps = maps;
    } else if (format_ == WeightFormat::kFloat8W8A8) {
      return absl::FailedPreconditionError(
          "the copy engine refuses a matrix of weights in fp8-w8a8; use --weights fp8");
    }
    return weights;
  }

  // Stacks the pieces and their biases at `place`.
  absl::Status Put(const LinearWeights& source, Place place, DeviceWeights& weights) {
    for (size_t i = 0; i < source.weights.size(); ++i) {
      RETURN_IF_ERROR(PutMatrix(source.weights[i], place, weights));
      if (!source.biases.empty()) RETURN_IF_ERROR(PutBias(source.biases[i], place, weights));
      place.first_row += source.weights[i].dims[0];
    }
    return absl::OkStatus();
  }

  absl::Status PutMatrix(const HostTensor& matrix, const Place& place, DeviceWeights& weights) {
    cuda::PackedRows target;
    target.data = static_cast<char*>(weights.data.data()) + place.expert * ExpertBytes(weights);
    target.dtype = dtype_;
    target.stride = weights.stride;
    target.first_col = place.first_col;
    target.format = format_;
    if (weights.scale() != nullptr) {
      target.scales = static_cast<float*>(weights.scales.data()) + place.expert * weights.out;
    }
    const bool transposed = matrix.column_stride != 0;
    const int64_t rows = matrix.dims[0];
    const int64_t cols = matrix.dims[1];
    const int64_t line = transposed ? matrix.column_stride : cols;  // elements between stored lines
    const int64_t lines = transposed ? cols : rows;
    const int64_t length = transposed ? rows : cols;
    const auto stored = static_cast<int64_t>(DTypeBytes(matrix.dtype));
    const bool whole = transposed && quantized();  // a scale needs all of its row or group
    const int64_t most =
        whole ? lines : std::clamp<int64_t>(kScratchBytes / (line * stored), 1, lines);
    RETURN_IF_ERROR(NeedScratch(((most - 1) * line + length) * stored));
    for (int64_t begin = 0; begin < lines; begin += most) {
      const int64_t count = std::min(most, lines - begin);
      staging_.Upload(static_cast<const char*>(matrix.data) + begin * line * stored,
                      static_cast<size_t>(((count - 1) * line + length) * stored), scratch_.data());
      cuda::StoredMatrix source = {scratch_.data(), matrix.dtype, count, cols, line, 1};
      Place part = place;
      cuda::PackedRows to = target;
      if (transposed) {
        source = {scratch_.data(), matrix.dtype, rows, count, 1, line};
        to.first_col += begin;
      } else {
        part.first_row += begin;
      }
      CopyRows(source, to, part);
    }
    return absl::OkStatus();
  }

 private:
  bool quantized() const { return format_ != WeightFormat::kActivations; }
  static int64_t RoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
  int64_t ExpertBytes(const DeviceWeights& weights) const {
    return MatrixBytes(format_, dtype_, weights.out, weights.stride);
  }

  absl::StatusOr<DeviceMemory> Zeros(int64_t bytes) {
    ASSIGN_OR_RETURN(DeviceMemory memory, DeviceMemory::Allocate(static_cast<size_t>(bytes)));
    gpu::Zero(memory.data(), memory.bytes(), stream_);
    return memory;
  }

  // All that is queued reads the scratch memory before it is written again.
  absl::Status NeedScratch(size_t bytes) {
    if (scratch_.bytes() >= bytes) return absl::OkStatus();
    gpu::Synchronize(stream_);
    ASSIGN_OR_RETURN(scratch_, DeviceMemory::Allocate(bytes));
    return absl::OkStatus();
  }

  absl::Status PutBias(const HostTensor& bias, const Place& place, DeviceWeights& weights) {
    RETURN_IF_ERROR(NeedScratch(bias.bytes()));
    staging_.Upload(bias.data, bias.bytes(), scratch_.data());
    float* target = static_cast<float*>(weights.biases.data()) + place.expert * weights.out;
    CopyRows({scratch_.data(), bias.dtype, bias.elements(), 1, 1, 1}, {target, DType::kFloat32, 1},
             place);
    return absl::OkStatus();
  }

  // Rows of the stack beginning at place.first_row; gates and the others each to their half of
  // every sixteen.
  void CopyRows(cuda::StoredMatrix source, cuda::PackedRows target, const Place& place) {
    if (place.gated_ffn == 0) {
      target.first_row = place.first_row;
      Convert(source, target);
      return;
    }
    const int64_t end = place.first_row + source.rows;
    const auto size = static_cast<int64_t>(DTypeBytes(source.dtype));
    for (int half = 0; half < 2; ++half) {
      const int64_t from = std::max(place.first_row, half * place.gated_ffn);
      const int64_t to = std::min(end, (half + 1) * place.gated_ffn);
      if (from >= to) continue;
      cuda::StoredMatrix part = source;
      part.data = static_cast<const char*>(source.data) +
                  (from - place.first_row) * source.row_stride * size;
      part.rows = to - from;
      target.first_row = from - half * place.gated_ffn;
      target.gated_half = half;
      Convert(part, target);
    }
  }

  void Convert(const cuda::StoredMatrix& source, const cuda::PackedRows& target) {
    if (target.format == WeightFormat::kActivations) {
      cuda::CopyMatrix(source, target, stream_);
    } else {
      cuda::QuantizeMatrix(source, target, stream_);
    }
  }

  const DType dtype_;
  const WeightFormat format_;
  const bool hopper_;
  const gpu::StreamHandle stream_;
  Staging& staging_;
  DeviceMemory scratch_;
};

int64_t OutOf(const LinearWeights& source) {
  int64_t out = 0;
  for (const HostTensor& weight : source.weights) out += weight.dims[0];
  return out;
}

// They decide on tokens and get more bits.
WeightFormat FormatOfLogits(WeightFormat format) {
  if (format == WeightFormat::kInt4) return WeightFormat::kInt8;
  if (format == WeightFormat::kFloat8W8A8) return WeightFormat::kFloat8;
  return format;
}

bool AnyBias(const std::vector<LinearWeights>& sources) {
  return std::any_of(sources.begin(), sources.end(),
                     [](const LinearWeights& source) { return !source.biases.empty(); });
}

}  // namespace

absl::StatusOr<std::unique_ptr<PackedLinear>> CudaBackend::DoPackLinear(
    const LinearWeights& source) {
  const WeightFormat format = source.logits ? FormatOfLogits(format_) : format_;
  Packer packer(activation_dtype(), format, uses_hopper(), stream_, staging_);
  auto packed = std::make_unique<CudaLinear>();
  ASSIGN_OR_RETURN(packed->weights,
                   packer.New(1, OutOf(source), source.weights[0].dims[1], !source.biases.empty()));
  RETURN_IF_ERROR(packer.Put(source, {}, packed->weights));
  gpu::Synchronize(stream_);
  Expect(packed->weights);
  packed->bytes = packed->weights.bytes();
  return packed;
}

absl::StatusOr<std::unique_ptr<PackedExperts>> CudaBackend::DoPackExperts(
    const ExpertWeights& source) {
  Packer packer(activation_dtype(), format_, uses_hopper(), stream_, staging_);
  const auto experts = static_cast<int64_t>(source.up.size());
  if (format_ == WeightFormat::kFloat8W8A8 && experts > cuda::kMaxTiledExperts) {
    return absl::InvalidArgumentError(
        fmt::format("layers of {} experts have no kernel in fp8-w8a8 (at most {}); use --weights "
                    "fp8",
                    experts, cuda::kMaxTiledExperts));
  }
  const int64_t hidden = source.up[0].weights[0].dims[1];
  const int64_t ffn = source.down[0].weights[0].dims[1];
  const int64_t up_rows = source.gated ? (ffn + 7) / 8 * 16 : ffn;
  auto packed = std::make_unique<CudaExperts>();
  packed->activation = source.activation;
  packed->gated = source.gated;
  ASSIGN_OR_RETURN(packed->up, packer.New(experts, up_rows, hidden, AnyBias(source.up)));
  ASSIGN_OR_RETURN(packed->down, packer.New(experts, hidden, ffn, AnyBias(source.down)));
  for (int64_t e = 0; e < experts; ++e) {
    RETURN_IF_ERROR(
        packer.Put(source.up[e], {.expert = e, .gated_ffn = source.gated ? ffn : 0}, packed->up));
    RETURN_IF_ERROR(packer.Put(source.down[e], {.expert = e}, packed->down));
  }
  gpu::Synchronize(stream_);
  Expect(packed->up, packed->gated, true);
  Expect(packed->down);
  packed->bytes = packed->up.bytes() + packed->down.bytes();
  return packed;
}

absl::StatusOr<std::unique_ptr<PackedLora>> CudaBackend::DoPackLora(const LoraWeights& source) {
  Packer packer(activation_dtype(), WeightFormat::kActivations, uses_hopper(), stream_, staging_);
  const size_t pieces = source.base.weights.size();
  const int64_t in = source.base.weights[0].dims[1];
  const int64_t rank = source.a[0].weights[0].dims[0];
  const auto inner = static_cast<int64_t>(pieces * source.a.size()) * rank;
  auto packed = std::make_unique<CudaLora>();
  packed->scale = source.scale;
  ASSIGN_OR_RETURN(packed->a, packer.New(1, inner, in, false));
  ASSIGN_OR_RETURN(packed->base_and_b,
                   packer.New(1, OutOf(source.base), in + inner, !source.base.biases.empty()));
  RETURN_IF_ERROR(packer.Put(source.base, {}, packed->base_and_b));
  int64_t block = 0;  // of `rank` rows of A and columns of B
  int64_t first_row = 0;
  for (size_t piece = 0; piece < pieces; ++piece) {
    for (size_t e = 0; e < source.a.size(); ++e, ++block) {
      RETURN_IF_ERROR(
          packer.PutMatrix(source.a[e].weights[piece], {.first_row = block * rank}, packed->a));
      RETURN_IF_ERROR(packer.PutMatrix(source.b[e].weights[piece],
                                       {.first_row = first_row, .first_col = in + block * rank},
                                       packed->base_and_b));
    }
    first_row += source.base.weights[piece].dims[0];
  }
  gpu::Synchronize(stream_);
  Expect(packed->a);
  Expect(packed->base_and_b);
  packed->bytes = packed->a.bytes() + packed->base_and_b.bytes();
  return packed;
}

}  // namespace tessera
