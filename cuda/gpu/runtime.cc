#include "gpu/runtime.h"

#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tessera::gpu {
namespace {

// The oldest GPUs that kernels are compiled for.
constexpr int kOldestMajor = 8;

void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "CUDA: %s: %s\n", what, cudaGetErrorString(error));
  std::abort();
}

// What FreeInOrder() gives back stays with the process, for the next AllocateInOrder().
void KeepFreedMemory() {
  cudaMemPool_t pool = nullptr;
  Check(cudaDeviceGetDefaultMemPool(&pool, 0), "memory pool");
  uint64_t kept = UINT64_MAX;
  Check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept), "memory pool");
}

// Blocks of a stream that is first are given a free multiprocessor before those of others.
cudaError_t MakeStream(bool first, StreamHandle& stream) {
  int last_priority = 0;
  int first_priority = 0;
  if (const cudaError_t error = cudaDeviceGetStreamPriorityRange(&last_priority, &first_priority);
      error != cudaSuccess) {
    return error;
  }
  return cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking,
                                      first ? first_priority : last_priority);
}

}  // namespace

std::string List(std::vector<Device>& devices) {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess || count == 0) {
    return std::string("no usable GPU: ") +
           (error == cudaSuccess ? "the driver lists none" : cudaGetErrorString(error));
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties = {};
    const cudaError_t error = cudaGetDeviceProperties(&properties, i);
    if (error != cudaSuccess) return std::string("GPU: ") + cudaGetErrorString(error);
    devices.push_back({properties.name, properties.major, properties.minor,
                       properties.multiProcessorCount, properties.totalGlobalMem});
  }
  return "";
}

std::string Open(Device& device, StreamHandle& stream) {
  std::vector<Device> devices;
  if (std::string fault = List(devices); !fault.empty()) return fault;
  device = devices[0];
  if (device.major < kOldestMajor) {
    return device.name + " has compute capability " + std::to_string(device.major) + "." +
           std::to_string(device.minor) +
           ", 8.0 or newer is needed; CUDA_VISIBLE_DEVICES chooses another GPU";
  }
  KeepFreedMemory();
  const cudaError_t error = MakeStream(true, stream);
  return error == cudaSuccess ? "" : device.name + ": " + cudaGetErrorString(error);
}

StreamHandle OpenSideStream() {
  StreamHandle stream = nullptr;
  if (MakeStream(false, stream) == cudaSuccess) return stream;
  cudaGetLastError();  // clears it
  return nullptr;
}

void Close(StreamHandle stream) { cudaStreamDestroy(stream); }

void* Allocate(size_t bytes) {
  void* memory = nullptr;
  if (cudaMalloc(&memory, bytes) != cudaSuccess) {
    cudaGetLastError();  // clears it
    return nullptr;
  }
  return memory;
}

void Free(void* memory) {
  cudaDeviceSynchronize();
  cudaFree(memory);
}

void* AllocateInOrder(size_t bytes, StreamHandle stream) {
  void* memory = nullptr;
  if (cudaMallocAsync(&memory, bytes, stream) != cudaSuccess) {
    cudaGetLastError();  // clears it
    return nullptr;
  }
  return memory;
}

void FreeInOrder(void* memory, StreamHandle stream) { cudaFreeAsync(memory, stream); }

size_t FreeBytes() {
  size_t free = 0;
  size_t total = 0;
  Check(cudaMemGetInfo(&free, &total), "free memory");
  return free;
}

void* AllocateHost(size_t bytes) {
  void* memory = nullptr;
  if (cudaMallocHost(&memory, bytes) != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  return memory;
}

void FreeHost(void* memory) { cudaFreeHost(memory); }

void CopyToDevice(void* device, const void* host, size_t bytes, StreamHandle stream) {
  Check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream), "copy to the device");
}

void CopyToHost(void* host, const void* device, size_t bytes, StreamHandle stream) {
  Check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream), "copy to the host");
}

void CopyOnDevice(void* target, const void* source, size_t bytes, StreamHandle stream) {
  Check(cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToDevice, stream), "copy");
}

void Zero(void* device, size_t bytes, StreamHandle stream) {
  Check(cudaMemsetAsync(device, 0, bytes, stream), "memset");
}

void Synchronize(StreamHandle stream) { Check(cudaStreamSynchronize(stream), "step"); }

bool Done(StreamHandle stream) {
  const cudaError_t state = cudaStreamQuery(stream);
  if (state != cudaErrorNotReady) Check(state, "step");
  return state == cudaSuccess;
}

EventHandle MakeEvent() {
  EventHandle event = nullptr;
  Check(cudaEventCreate(&event), "event");
  return event;
}

void Record(EventHandle event, StreamHandle stream) {
  Check(cudaEventRecord(event, stream), "event");
}

void WaitFor(EventHandle event) { Check(cudaEventSynchronize(event), "step"); }

double SecondsBetween(EventHandle begin, EventHandle end) {
  float milliseconds = 0;
  Check(cudaEventElapsedTime(&milliseconds, begin, end), "event");
  return milliseconds / 1e3;
}

void FreeEvent(EventHandle event) { Check(cudaEventDestroy(event), "event"); }

void BeginRecording(StreamHandle stream) {
  // Relaxed: the arena may grow meanwhile.
  Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "recording");
}

GraphHandle EndRecording(StreamHandle stream) {
  cudaGraph_t graph = nullptr;
  Check(cudaStreamEndCapture(stream, &graph), "recording");
  cudaGraphExec_t executable = nullptr;
  Check(cudaGraphInstantiate(&executable, graph, 0), "graph");
  Check(cudaGraphDestroy(graph), "graph");
  return executable;
}

void Replay(GraphHandle graph, StreamHandle stream) {
  Check(cudaGraphLaunch(graph, stream), "graph");
}

void FreeGraph(GraphHandle graph) { Check(cudaGraphExecDestroy(graph), "graph"); }

bool MakeTensorMap(const TensorBoxes& boxes, TensorMap& map) {
  static_assert(sizeof(TensorMap) == sizeof(CUtensorMap));
  // Asked for at run time, so that the binary starts where there is no driver.
  constexpr unsigned kSince = 12000;
  void* encode = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, kSince, cudaEnableDefault,
                                       &found) != cudaSuccess ||
      found != cudaDriverEntryPointSuccess) {
    cudaGetLastError();
    return false;
  }
  const std::array<uint32_t, 3> every = {1, 1, 1};
  CUtensorMap encoded = {};
  const CUresult result = reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(encode)(
      &encoded, CU_TENSOR_MAP_DATA_TYPE_UINT16, 3, const_cast<void*>(boxes.data), boxes.dims.data(),
      boxes.strides.data(), boxes.box.data(), every.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  std::memcpy(map.opaque.data(), &encoded, sizeof(encoded));
  return result == CUDA_SUCCESS;
}

}  // namespace tessera::gpu
