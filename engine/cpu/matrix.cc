#include "engine/cpu/matrix.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/cpu/parallel.h"
#include "engine/cpu/row_kernels.h"
#include "engine/cpu/weight_rows.h"

namespace tessera {
namespace {

using DnnlType = dnnl::memory::data_type;
using DnnlTag = dnnl::memory::format_tag;

constexpr int64_t kLayoutRows = 64;     // number of rows for which layouts are chosen
constexpr size_t kMaxPrimitives = 512;  // made ones that are kept

DnnlType ToDnnl(DType dtype) {
  TESSERA_CHECK(dtype == DType::kFloat32 || dtype == DType::kBFloat16);
  return dtype == DType::kFloat32 ? DnnlType::f32 : DnnlType::bf16;
}

void AppendActivation(Activation activation, dnnl::post_ops& ops) {
  switch (activation) {
    case Activation::kNone:
      return;
    case Activation::kGeluErf:
      return ops.append_eltwise(1, dnnl::algorithm::eltwise_gelu_erf, 0, 0);
    case Activation::kGeluTanh:
      return ops.append_eltwise(1, dnnl::algorithm::eltwise_gelu_tanh, 0, 0);
    case Activation::kQuickGelu:
      return ops.append_eltwise(1, dnnl::algorithm::eltwise_swish, 1.702f, 0);
    case Activation::kSilu:
      return ops.append_eltwise(1, dnnl::algorithm::eltwise_swish, 1.0f, 0);
  }
}

// oneDNN takes its number of threads from OpenMP's setting for the calling thread, cuts its work
// into so many parts and must get them all: with fewer it leaves parts of the result undone.
class ThreadLimit {
 public:
  explicit ThreadLimit(int threads) : before_(omp_get_max_threads()), dynamic_(omp_get_dynamic()) {
    omp_set_num_threads(threads);
    omp_set_dynamic(0);
  }
  ~ThreadLimit() {
    omp_set_num_threads(before_);
    omp_set_dynamic(dynamic_);
  }

 private:
  int before_, dynamic_;
};

// The stacked rows of all pieces as one dense [out, in] matrix of `dtype`.
absl::StatusOr<AlignedMemory> Stack(const LinearWeights& source, DType dtype, int64_t in,
                                    int64_t out, int threads) {
  ASSIGN_OR_RETURN(AlignedMemory dense, AlignedMemory::Allocate(in * out * DTypeBytes(dtype)));
  ASSIGN_OR_RETURN(AlignedMemory scratch, AlignedMemory::Allocate(threads * in * sizeof(float)));
  auto* target = static_cast<char*>(dense.data());
  for (const HostTensor& weight : source.weights) {
    ParallelSpans(threads, weight.dims[0], 64, weight.elements(),
                  [&](int64_t begin, int64_t end, int thread) {
                    float* row = static_cast<float*>(scratch.data()) + thread * in;
                    for (int64_t i = begin; i < end; ++i) {
                      CopyWeightRow(weight, i, dtype, row, target + i * in * DTypeBytes(dtype));
                    }
                  });
    target += weight.elements() * DTypeBytes(dtype);
  }
  return dense;
}

absl::StatusOr<AlignedMemory> StackBiases(const LinearWeights& source, int64_t out) {
  ASSIGN_OR_RETURN(AlignedMemory biases, AlignedMemory::Allocate(out * sizeof(float)));
  auto* target = static_cast<float*>(biases.data());
  std::memset(target, 0, out * sizeof(float));
  for (const HostTensor& bias : source.biases) {
    rows::Widen(bias.data, bias.dtype, bias.elements(), target);
    target += bias.elements();
  }
  return biases;
}

}  // namespace

MatrixProduct::MatrixProduct(DType dtype, int threads)
    : dtype_(dtype),
      threads_(threads),
      kernel_(Choose(dtype)),
      engine_(dnnl::engine::kind::cpu, 0),
      stream_(engine_) {}

MatrixProduct::Kernel MatrixProduct::Choose(DType dtype) {
  if (dtype == DType::kFloat16) return Kernel::kPanels;
  if (dtype == DType::kBFloat16) return AmxAvailable() ? Kernel::kAmx : Kernel::kOneDnn;
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::avx512_core:
    case dnnl::cpu_isa::avx512_core_vnni:
    case dnnl::cpu_isa::avx512_core_bf16:
    case dnnl::cpu_isa::avx512_core_amx:
      return Kernel::kOneDnn;
    default:
      return Kernel::kPanels;
  }
}

absl::StatusOr<Matrix> MatrixProduct::Pack(const LinearWeights& source) {
  Matrix matrix;
  matrix.in_ = source.weights[0].dims[1];
  for (const HostTensor& weight : source.weights) matrix.out_ += weight.dims[0];
  ASSIGN_OR_RETURN(matrix.bias_, StackBiases(source, matrix.out_));
  if (kernel_ == Kernel::kPanels) {
    ASSIGN_OR_RETURN(matrix.panels_, PackPanels(source, dtype_, threads_));
    return matrix;
  }
  if (kernel_ == Kernel::kAmx) {
    ASSIGN_OR_RETURN(matrix.amx_, PackAmx(source, threads_));
    return matrix;
  }
  AlignedMemory stacked;
  const void* dense = source.weights[0].data;
  if (source.weights.size() > 1 || source.weights[0].dtype != dtype_ ||
      source.weights[0].column_stride != 0) {
    ASSIGN_OR_RETURN(stacked, Stack(source, dtype_, matrix.in_, matrix.out_, threads_));
    dense = stacked.data();
  }
  RETURN_IF_ERROR(PackDense(dense, matrix));
  return matrix;
}

absl::Status MatrixProduct::PackDense(const void* dense, Matrix& matrix) try {
  const ThreadLimit limit(threads_);
  const dnnl::memory::desc layout = Layout(matrix.in_, matrix.out_);
  ASSIGN_OR_RETURN(matrix.dense_, AlignedMemory::Allocate(layout.get_size()));
  const dnnl::memory::desc transposed({matrix.in_, matrix.out_}, ToDnnl(dtype_),
                                      dnnl::memory::dims{1, matrix.in_});
  dnnl::memory source(transposed, engine_, const_cast<void*>(dense));
  dnnl::memory target(layout, engine_, matrix.dense_.data());
  dnnl::reorder(source, target).execute(stream_, source, target);
  stream_.wait();
  return absl::OkStatus();
} catch (const dnnl::error& error) {
  const std::string message =
      fmt::format("cannot pack a weight of [{}, {}]: {}", matrix.out_, matrix.in_, error.message);
  return error.status == dnnl_out_of_memory ? absl::ResourceExhaustedError(message)
                                            : absl::InternalError(message);
}

dnnl::memory::desc MatrixProduct::Layout(int64_t in, int64_t out) const {
  const dnnl::memory::desc x({kLayoutRows, in}, ToDnnl(dtype_), DnnlTag::ab);
  const dnnl::memory::desc y({kLayoutRows, out}, ToDnnl(dtype_), DnnlTag::ab);
  const dnnl::memory::desc weights({in, out}, ToDnnl(dtype_), DnnlTag::any);
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(x, weights, y), engine_).weights_desc();
}

MatrixProduct::Primitive MatrixProduct::Make(const Key& key) const {
  const double work = 2.0 * key.rows * key.in * key.out;
  const ThreadLimit limit(work < kParallelWork ? 1 : threads_);
  const dnnl::memory::desc x({key.rows, key.in}, ToDnnl(dtype_), DnnlTag::ab);
  const dnnl::memory::desc bias({1, key.out}, DnnlType::f32, DnnlTag::ab);
  const dnnl::memory::desc y({key.rows, key.out}, ToDnnl(key.result), DnnlTag::ab);
  dnnl::post_ops ops;
  AppendActivation(key.activation, ops);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attributes.set_post_ops(ops);
  const dnnl::matmul::primitive_desc desc(dnnl::matmul::desc(x, Layout(key.in, key.out), bias, y),
                                          attributes, engine_);
  return {desc, dnnl::matmul(desc)};
}

const MatrixProduct::Primitive& MatrixProduct::Find(const Key& key) {
  if (auto found = primitives_.find(key); found != primitives_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    return found->second->second;
  }
  if (recent_.size() == kMaxPrimitives) {
    primitives_.erase(recent_.back().first);
    recent_.pop_back();
  }
  recent_.emplace_front(key, Make(key));
  primitives_[key] = recent_.begin();
  return recent_.front().second;
}

void MatrixProduct::RunOneDnn(const Matrix& matrix, Tensor x, Activation activation, Tensor y,
                              Arena& arena) {
  const Primitive& primitive = Find({x.rows(), matrix.in(), matrix.out(), activation, y.dtype});
  const auto& desc = primitive.desc;
  const auto memory = [&](const dnnl::memory::desc& part, void* data) {
    return dnnl::memory(part, engine_, data);
  };
  primitive.primitive.execute(
      stream_, {{DNNL_ARG_SRC, memory(desc.src_desc(), x.data)},
                {DNNL_ARG_WEIGHTS, memory(desc.weights_desc(), matrix.dense_.data())},
                {DNNL_ARG_BIAS, memory(desc.bias_desc(), matrix.bias_.data())},
                {DNNL_ARG_DST, memory(desc.dst_desc(), y.data)},
                {DNNL_ARG_SCRATCHPAD, memory(desc.scratchpad_desc(),
                                             arena.Allocate(desc.scratchpad_desc().get_size()))}});
  stream_.wait();
}

// Row sources[i] of x, or row i without sources, as the kernel takes it: panels want float32.
Tensor MatrixProduct::GatherRows(Tensor x, Tensor sources, Arena& arena) const {
  const DType dtype = kernel_ == Kernel::kPanels ? DType::kFloat32 : x.dtype;
  if (sources.empty() && dtype == x.dtype) return x;
  const int64_t count = sources.empty() ? x.rows() : sources.elements();
  const auto from_bytes = static_cast<int64_t>(x.cols() * DTypeBytes(x.dtype));
  const auto to_bytes = static_cast<int64_t>(x.cols() * DTypeBytes(dtype));
  auto* gathered = arena.New<char>(count * to_bytes);
  const auto gather = [&](int64_t i) {
    const int64_t source = sources.empty() ? i : sources.as<int32_t>()[i];
    const char* from = x.as<char>() + source * from_bytes;
    if (dtype == x.dtype) {
      std::memcpy(gathered + i * to_bytes, from, to_bytes);
    } else {
      rows::Widen(from, x.dtype, x.cols(), reinterpret_cast<float*>(gathered + i * to_bytes));
    }
  };
  ParallelSpans(threads_, count, 8, static_cast<double>(count * to_bytes),
                [&](int64_t begin, int64_t end, int) {
                  for (int64_t i = begin; i < end; ++i) gather(i);
                });
  return Tensor(dtype, {count, x.cols()}, gathered);
}

void MatrixProduct::Run(std::span<const MatrixRows> groups, Tensor x, Tensor sources,
                        Activation activation, Tensor y, Arena& arena) {
  const auto bias = [](const MatrixRows& group) {
    return static_cast<const float*>(group.matrix->bias_.data());
  };
  if (kernel_ == Kernel::kAmx) {
    std::vector<AmxGroup> parts;
    for (const MatrixRows& group : groups) {
      parts.push_back({&group.matrix->amx_, bias(group), group.begin, group.rows});
    }
    return RunAmx(parts, x, sources.as<int32_t>(), activation, y, threads_, arena);
  }
  x = GatherRows(x, sources, arena);
  if (kernel_ == Kernel::kPanels) {
    std::vector<PanelGroup> parts;
    for (const MatrixRows& group : groups) {
      parts.push_back({&group.matrix->panels_, bias(group), group.begin, group.rows});
    }
    return RunPanels(parts, x, activation, y, threads_);
  }
  const ThreadLimit limit(threads_);
  for (const MatrixRows& group : groups) {
    if (group.rows == 0) continue;
    RunOneDnn(*group.matrix, x.Rows(group.begin, group.rows), activation,
              y.Rows(group.begin, group.rows), arena);
  }
}

}  // namespace tessera
