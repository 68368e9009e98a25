// The host's side of a GPU: devices, memory, streams. No CUDA types, so that the backend is plain
// C++; runtime.cc speaks to CUDA, tests/emulated/runtime.cc to nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

struct CUevent_st;
struct CUgraphExec_st;
struct CUstream_st;

namespace tessera::gpu {

using StreamHandle = CUstream_st*;

struct Device {
  std::string name;
  int major = 0;  // compute capability
  int minor = 0;
  int multiprocessors = 0;
  size_t memory_bytes = 0;
};

// Describes the devices that CUDA_VISIBLE_DEVICES leaves; on failure says what is missing, ""
// otherwise.
std::string List(std::vector<Device>& devices);
// Describes the first of the devices that CUDA_VISIBLE_DEVICES leaves, the one that every thread
// uses without being told, and makes a stream on it; on failure says what is missing, "" otherwise.
std::string Open(Device& device, StreamHandle& stream);
// One more stream, for work that lets that of Open()'s go first; null when there can be none.
StreamHandle OpenSideStream();
void Close(StreamHandle stream);

// Device memory, 256-byte aligned; null when there is not enough.
void* Allocate(size_t bytes);
// Waits until the device has done all that was queued.
void Free(void* memory);
// The same in the order of a stream, so that memory that comes and goes beside work waits for
// nothing.
void* AllocateInOrder(size_t bytes, StreamHandle stream);
void FreeInOrder(void* memory, StreamHandle stream);
// Of the device's memory, what nobody has.
size_t FreeBytes();
// Host memory that the device copies from and to by itself; null when there is not enough.
void* AllocateHost(size_t bytes);
void FreeHost(void* memory);

// In the order of the stream; `host` must be of AllocateHost() and stay until the copy is done.
void CopyToDevice(void* device, const void* host, size_t bytes, StreamHandle stream);
void CopyToHost(void* host, const void* device, size_t bytes, StreamHandle stream);
void CopyOnDevice(void* target, const void* source, size_t bytes, StreamHandle stream);
void Zero(void* device, size_t bytes, StreamHandle stream);
// Waits until the stream has done all it was given. Ends the process when the device failed:
// results are then lost.
void Synchronize(StreamHandle stream);
// Whether it has.
bool Done(StreamHandle stream);

// Places in the order of a stream.
using EventHandle = CUevent_st*;
EventHandle MakeEvent();
void Record(EventHandle event, StreamHandle stream);
// Until all that was queued before Record() is done.
void WaitFor(EventHandle event);
// Between two places that the stream has passed.
double SecondsBetween(EventHandle begin, EventHandle end);
void FreeEvent(EventHandle event);

// Between the two what is queued on the stream is not done but kept as a graph; nothing that waits
// and no copy from or to the host may be queued. Ends the process when the graph cannot be made.
using GraphHandle = CUgraphExec_st*;
void BeginRecording(StreamHandle stream);
GraphHandle EndRecording(StreamHandle stream);
// Queues all that the graph keeps, in its order.
void Replay(GraphHandle graph, StreamHandle stream);
// Not while it is being replayed.
void FreeGraph(GraphHandle graph);

// How the copy engine of Hopper reads a tensor of 16-bit elements box by box (gpu/hopper.h,
// LoadTile()); the innermost dimension first, which is gapless.
struct TensorBoxes {
  const void* data = nullptr;            // 16-byte aligned
  std::array<uint64_t, 3> dims = {};     // in elements
  std::array<uint64_t, 2> strides = {};  // of dims[1] and dims[2], in bytes, multiples of 16
  std::array<uint32_t, 3> box = {};      // in elements, at most 256; box[0] 64
};
// The same in the form that kernels take, as a `const __grid_constant__` parameter.
struct alignas(64) TensorMap {
  std::array<unsigned char, 128> opaque = {};
};
// False where the device has no such engine or the boxes break its rules.
bool MakeTensorMap(const TensorBoxes& boxes, TensorMap& map);

}  // namespace tessera::gpu
