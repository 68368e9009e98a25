// cuda/gpu/runtime.h on the CPU. New memory holds NaNs, so that what nobody wrote shows.
#include "gpu/runtime.h"

#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "engine/check.h"
#include "tests/emulated/clock.h"
#include "tests/emulated/recording.h"

struct CUevent_st {
  double seconds = 0;
};

struct CUgraphExec_st {
  std::vector<std::function<void()>> operations;
};

namespace tessera::gpu {
namespace {

std::unique_ptr<CUgraphExec_st> recorded;  // null while nothing is recorded

}  // namespace

void emulated::Queue(std::function<void()> operation) {
  if (recorded == nullptr) return operation();
  recorded->operations.push_back(std::move(operation));
}

std::string Open(Device& device, StreamHandle& stream) {
  device = {"emulated", 9, 0, 4, size_t{1} << 32};
  stream = nullptr;
  return "";
}

void Close(StreamHandle) {}

void* Allocate(size_t bytes) {
  const size_t rounded = (bytes + 255) / 256 * 256;
  if (rounded < bytes || rounded > size_t{1} << 32) return nullptr;
  void* memory = std::aligned_alloc(256, rounded);
  if (memory != nullptr) std::memset(memory, 0xff, rounded);
  return memory;
}

void Free(void* memory) { std::free(memory); }
size_t FreeBytes() { return size_t{1} << 28; }
void* AllocateHost(size_t bytes) { return Allocate(bytes); }
void FreeHost(void* memory) { std::free(memory); }

void CopyToDevice(void* device, const void* host, size_t bytes, StreamHandle) {
  TESSERA_CHECK(recorded == nullptr);
  std::memcpy(device, host, bytes);
}
void CopyToHost(void* host, const void* device, size_t bytes, StreamHandle) {
  TESSERA_CHECK(recorded == nullptr);
  std::memcpy(host, device, bytes);
}
void CopyOnDevice(void* target, const void* source, size_t bytes, StreamHandle) {
  emulated::Queue([=] { std::memmove(target, source, bytes); });
}
void Zero(void* device, size_t bytes, StreamHandle) {
  emulated::Queue([=] { std::memset(device, 0, bytes); });
}
void Synchronize(StreamHandle) { TESSERA_CHECK(recorded == nullptr); }

void BeginRecording(StreamHandle) {
  TESSERA_CHECK(recorded == nullptr);
  recorded = std::make_unique<CUgraphExec_st>();
}
GraphHandle EndRecording(StreamHandle) {
  TESSERA_CHECK(recorded != nullptr);
  return recorded.release();
}
void Replay(GraphHandle graph, StreamHandle) {
  TESSERA_CHECK(recorded == nullptr);
  for (const auto& operation : graph->operations) operation();
}
void FreeGraph(GraphHandle graph) { delete graph; }

EventHandle MakeEvent() { return new CUevent_st; }
void FreeEvent(EventHandle event) { delete event; }
void RecordEvent(EventHandle event, StreamHandle) {
  emulated::Queue([=] { event->seconds = emulated::Now(); });
}
double SecondsBetween(EventHandle begin, EventHandle end) { return end->seconds - begin->seconds; }

// The map is the boxes themselves.
bool MakeTensorMap(const TensorBoxes& boxes, TensorMap& map) {
  const auto [width, rows, matrices] = boxes.dims;
  const auto [row_bytes, matrix_bytes] = boxes.strides;
  const bool valid = reinterpret_cast<uintptr_t>(boxes.data) % 16 == 0 && width > 0 && rows > 0 &&
                     matrices > 0 && row_bytes % 16 == 0 && matrix_bytes % 16 == 0 &&
                     row_bytes >= width * 2 && boxes.box[0] == 64 && boxes.box[1] <= 256 &&
                     boxes.box[2] <= 256;
  static_assert(sizeof(boxes) <= sizeof(map));
  std::memcpy(map.opaque.data(), &boxes, sizeof(boxes));
  return valid;
}

}  // namespace tessera::gpu
