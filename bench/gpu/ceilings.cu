// What this GPU can do, on plain loops and NVIDIA's own product: every later ratio of
// bench/gpu/run.sh is against these. Prints lines "name,value" in SI units.
//   gpu_ceilings [--dense-only] [--cublaslt PATH]...
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

namespace {

constexpr int kSamples = 20;
constexpr unsigned kThreads = 512;
constexpr int64_t kSide = 8192;  // of the dense product
constexpr size_t kWorkspaceBytes = size_t{64} << 20;

void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}
void Check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  std::fprintf(stderr, "%s: cuBLASLt status %d\n", what, static_cast<int>(status));
  std::exit(1);
}

void Print(const char* name, double value) {
  std::printf("%s,%.6g\n", name, value);
  std::fflush(stdout);
}

// Median seconds of `work` on the default stream.
double MedianSeconds(const std::function<void()>& work) {
  cudaEvent_t begin, end;
  Check(cudaEventCreate(&begin), "event");
  Check(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = -3; i < kSamples; ++i) {
    Check(cudaEventRecord(begin, cudaStreamLegacy), "event");
    work();
    Check(cudaEventRecord(end, cudaStreamLegacy), "event");
    Check(cudaEventSynchronize(end), "run");
    float milliseconds = 0;
    Check(cudaEventElapsedTime(&milliseconds, begin, end), "event");
    if (i >= 0) times.push_back(milliseconds);
  }
  Check(cudaEventDestroy(begin), "event");
  Check(cudaEventDestroy(end), "event");
  std::nth_element(times.begin(), times.begin() + kSamples / 2, times.end());
  return times[kSamples / 2] * 1e-3;
}

__device__ uint32_t Mix(uint64_t value) {  // splitmix64 (Steele, Lea and Flood 2014)
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return static_cast<uint32_t>(value ^ (value >> 31));
}

template <typename T>
__global__ void FillNormal(T* to, int64_t count, uint64_t seed) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    const float u = (static_cast<float>(Mix(2 * (seed + i))) + 1.0f) * 0x1p-32f;
    const float v = static_cast<float>(Mix(2 * (seed + i) + 1)) * 0x1p-32f;
    to[i] = T(sqrtf(-2 * logf(fminf(u, 1.0f))) * cospif(2 * v));
  }
}

// Each thread has kUnroll independent 16-byte accesses under way; words must be a multiple of the
// grid's.
constexpr int kUnroll = 8;
__global__ void __launch_bounds__(kThreads) CopyWords(const uint4* from, uint4* to) {
  const int64_t first = int64_t{blockIdx.x} * kThreads * kUnroll + threadIdx.x;
  uint4 words[kUnroll];
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) words[i] = from[first + i * int64_t{kThreads}];
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) to[first + i * int64_t{kThreads}] = words[i];
}
__global__ void __launch_bounds__(kThreads) ReadWords(const uint4* from, uint32_t* sink) {
  const int64_t first = int64_t{blockIdx.x} * kThreads * kUnroll + threadIdx.x;
  uint32_t sum = 0;
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    const uint4 word = from[first + i * int64_t{kThreads}];
    sum ^= word.x ^ word.y ^ word.z ^ word.w;
  }
  if (sum == 0x9e3779b9u) *sink = sum;  // seldom true, never known to the compiler
}
__global__ void __launch_bounds__(kThreads) WriteWords(uint4* to, uint32_t value) {
  const int64_t first = int64_t{blockIdx.x} * kThreads * kUnroll + threadIdx.x;
#pragma unroll
  for (int i = 0; i < kUnroll; ++i) {
    to[first + i * int64_t{kThreads}] = make_uint4(value, value + 1, value + 2, value + 3);
  }
}
__global__ void Nothing() {}

template <typename T = __nv_bfloat16>
void Fill(void* memory, size_t bytes, uint64_t seed) {
  FillNormal<<<2048, 256>>>(static_cast<T*>(memory), static_cast<int64_t>(bytes / sizeof(T)), seed);
  Check(cudaGetLastError(), "fill");
}

void MeasureBandwidth() {
  constexpr size_t kMost = size_t{8} << 30;
  char* from = nullptr;
  char* to = nullptr;
  uint32_t* sink = nullptr;
  Check(cudaMalloc(&from, kMost), "memory");
  Check(cudaMalloc(&to, kMost), "memory");
  Check(cudaMalloc(&sink, sizeof(uint32_t)), "memory");
  Fill(from, kMost, 1);
  double copy = 0, own_copy = 0, read = 0, write = 0;
  for (const size_t gib : {4, 6, 8}) {
    const size_t bytes = gib << 30;
    const auto blocks = static_cast<unsigned>(bytes / (sizeof(uint4) * kThreads * kUnroll));
    const auto rate = [&](double moved, const std::function<void()>& work) {
      const double seconds = MedianSeconds(work);
      Check(cudaGetLastError(), "launch");
      return moved / seconds;
    };
    const auto size = static_cast<double>(bytes);
    const auto* source = reinterpret_cast<const uint4*>(from);
    auto* target = reinterpret_cast<uint4*>(to);
    const double rates[] = {
        rate(2 * size, [&] { cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice); }),
        rate(2 * size, [&] { CopyWords<<<blocks, kThreads>>>(source, target); }),
        rate(size, [&] { ReadWords<<<blocks, kThreads>>>(source, sink); }),
        rate(size, [&] { WriteWords<<<blocks, kThreads>>>(target, 7); })};
    const char* names[] = {"memcpy", "copy_kernel", "read_kernel", "write_kernel"};
    for (int i = 0; i < 4; ++i) {
      char name[64];
      std::snprintf(name, sizeof(name), "%s_%zugib_bytes_per_second", names[i], gib);
      Print(name, rates[i]);
    }
    copy = std::max(copy, rates[0]);
    own_copy = std::max(own_copy, rates[1]);
    read = std::max(read, rates[2]);
    write = std::max(write, rates[3]);
  }
  Print("copy_bytes_per_second", std::max(copy, own_copy));
  Print("read_bytes_per_second", read);
  Print("write_bytes_per_second", write);
  Check(cudaFree(from), "free");
  Check(cudaFree(to), "free");
  Check(cudaFree(sink), "free");
}

// Seconds that one empty kernel in a replayed graph takes: the difference of two lengths, so that
// the launch drops out.
void MeasureGraphNode() {
  cudaStream_t stream;
  Check(cudaStreamCreate(&stream), "stream");
  const auto replay_seconds = [&](int nodes) {
    cudaGraph_t graph;
    cudaGraphExec_t replay;
    Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    for (int i = 0; i < nodes; ++i) Nothing<<<1, 32, 0, stream>>>();
    Check(cudaStreamEndCapture(stream, &graph), "capture");
    Check(cudaGraphInstantiate(&replay, graph, 0), "graph");
    const double seconds = MedianSeconds([&] { cudaGraphLaunch(replay, cudaStreamLegacy); });
    Check(cudaGraphExecDestroy(replay), "graph");
    Check(cudaGraphDestroy(graph), "graph");
    return seconds;
  };
  const double few = replay_seconds(100);
  Print("graph_node_seconds", (replay_seconds(1100) - few) / 1000);
  Check(cudaStreamDestroy(stream), "stream");
}

// The functions of one copy of cuBLASLt, opened at run time.
struct CublasLt {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;

  bool Open(const char* path) {
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return false;
    const auto find = [&](auto& function, const char* name) {
      function =
          reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      return function != nullptr;
    };
    return find(create, "cublasLtCreate") && find(desc_create, "cublasLtMatmulDescCreate") &&
           find(desc_set, "cublasLtMatmulDescSetAttribute") &&
           find(layout_create, "cublasLtMatrixLayoutCreate") &&
           find(preference_create, "cublasLtMatmulPreferenceCreate") &&
           find(preference_set, "cublasLtMatmulPreferenceSetAttribute") &&
           find(heuristic, "cublasLtMatmulAlgoGetHeuristic") && find(matmul, "cublasLtMatmul");
  }
};

// c [n, n] = a · bᵀ, a and b of T, c of bfloat16, float32 inside, of 8-bit numbers with fast
// accumulation; the best of the heuristic's first algorithms. Nothing where there is none.
template <typename T>
void MeasureDense(const CublasLt& lt, cudaDataType type, const char* name) {
  constexpr int kAlgorithms = 8;
  constexpr size_t kCount = kSide * kSide;
  void *a = nullptr, *b = nullptr, *c = nullptr, *workspace = nullptr;
  for (void** memory : {&a, &b}) Check(cudaMalloc(memory, kCount * sizeof(T)), "memory");
  Check(cudaMalloc(&c, kCount * sizeof(__nv_bfloat16)), "memory");
  Check(cudaMalloc(&workspace, kWorkspaceBytes), "memory");
  Fill<T>(a, kCount * sizeof(T), 2);
  Fill<T>(b, kCount * sizeof(T), 3);
  cublasLtHandle_t handle;
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t layout, result;
  cublasLtMatmulPreference_t preference;
  const cublasOperation_t transpose = CUBLAS_OP_T;
  const int8_t fast = sizeof(T) == 1 ? 1 : 0;
  Check(lt.create(&handle), "create");
  Check(lt.desc_create(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description");
  Check(lt.desc_set(desc, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof(transpose)),
        "description");
  Check(lt.desc_set(desc, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, sizeof(fast)), "description");
  Check(lt.layout_create(&layout, type, kSide, kSide, kSide), "layout");
  Check(lt.layout_create(&result, CUDA_R_16BF, kSide, kSide, kSide), "layout");
  Check(lt.preference_create(&preference), "preference");
  Check(lt.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspaceBytes,
                          sizeof(kWorkspaceBytes)),
        "preference");
  cublasLtMatmulHeuristicResult_t found[kAlgorithms] = {};
  int count = 0;
  if (lt.heuristic(handle, desc, layout, layout, result, result, preference, kAlgorithms, found,
                   &count) != CUBLAS_STATUS_SUCCESS) {
    std::fprintf(stderr, "%s: cuBLASLt has no such product here\n", name);
  }
  const float one = 1, zero = 0;
  double best = 0;
  for (int i = 0; i < count; ++i) {
    const auto multiply = [&] {
      return lt.matmul(handle, desc, &one, a, layout, b, layout, &zero, c, result, c, result,
                       &found[i].algo, workspace, kWorkspaceBytes, nullptr);
    };
    if (multiply() != CUBLAS_STATUS_SUCCESS) continue;
    const double seconds = MedianSeconds([&] { multiply(); });
    best = std::max(best, 2.0 * kSide * kSide * kSide / seconds);
  }
  if (best > 0) Print(name, best);
  for (void* memory : {a, b, c, workspace}) Check(cudaFree(memory), "free");
}

}  // namespace

int main(int argc, char** argv) {
  bool dense_only = false;
  std::vector<std::string> libraries;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--dense-only") {
      dense_only = true;
    } else if (flag == "--cublaslt" && i + 1 < argc) {
      libraries.push_back(argv[++i]);
    } else {
      std::fprintf(stderr, "usage: gpu_ceilings [--dense-only] [--cublaslt PATH]...\n");
      return 2;
    }
  }
  libraries.push_back("libcublasLt.so.13");
  libraries.push_back("libcublasLt.so.12");
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::fprintf(stderr, "no usable GPU\n");
    return 2;
  }
  if (!dense_only) {
    MeasureBandwidth();
    MeasureGraphNode();
  }
  CublasLt lt;
  for (const std::string& library : libraries) {
    if (!lt.Open(library.c_str())) continue;
    std::fprintf(stderr, "dense products: %s\n", library.c_str());
    MeasureDense<__nv_bfloat16>(lt, CUDA_R_16BF, "dense_flops_per_second");
    if (!dense_only) {
      MeasureDense<__nv_fp8_e4m3>(lt, CUDA_R_8F_E4M3, "float8_flops_per_second");
    }
    return 0;
  }
  std::fprintf(stderr, "no cuBLASLt found: no dense ceiling\n");
  return 0;
}
