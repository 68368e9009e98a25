// cuda/gpu/runtime.h on the CPU. New memory holds NaNs, so that what nobody wrote shows.
#include "gpu/runtime.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "engine/base/check.h"
#include "tests/emulated/clock.h"
#include "tests/emulated/copy_engine.h"
#include "tests/emulated/streams.h"

struct CUgraphExec_st {
  std::vector<std::function<void()>> operations;
};

struct CUstream_st {
  std::deque<std::function<void()>> operations;
  std::unique_ptr<CUgraphExec_st> recorded;  // null while nothing is recorded
};

struct CUevent_st {
  tessera::gpu::StreamHandle stream = nullptr;
  std::shared_ptr<bool> reached = std::make_shared<bool>(true);
  double seconds = 0;  // when it was
};

namespace tessera::gpu {
namespace {

std::set<StreamHandle> streams;

void DoNext(StreamHandle stream) {
  const std::function<void()> operation = std::move(stream->operations.front());
  stream->operations.pop_front();
  operation();
}

}  // namespace

void emulated::Queue(StreamHandle stream, std::function<void()> operation) {
  if (stream == nullptr) return operation();
  if (stream->recorded == nullptr) {
    stream->operations.push_back(std::move(operation));
  } else {
    stream->recorded->operations.push_back(std::move(operation));
  }
}

std::string List(std::vector<Device>& devices) {
  devices.push_back({"emulated", 9, 0, 4, size_t{1} << 32});
  return "";
}

std::string Open(Device& device, StreamHandle& stream) {
  std::vector<Device> devices;
  List(devices);
  device = devices[0];
  stream = OpenSideStream();
  return "";
}

StreamHandle OpenSideStream() { return *streams.insert(new CUstream_st).first; }

void Close(StreamHandle stream) {
  TESSERA_CHECK(streams.erase(stream) == 1 && stream->operations.empty());
  delete stream;
}

void* Allocate(size_t bytes) {
  const size_t rounded = (bytes + 255) / 256 * 256;
  if (rounded < bytes || rounded > size_t{1} << 32) return nullptr;
  void* memory = std::aligned_alloc(256, rounded);
  if (memory != nullptr) std::memset(memory, 0xff, rounded);
  return memory;
}

void Free(void* memory) {
  for (const StreamHandle stream : streams) Synchronize(stream);
  std::free(memory);
}
void* AllocateInOrder(size_t bytes, StreamHandle) { return Allocate(bytes); }
void FreeInOrder(void* memory, StreamHandle stream) {
  emulated::Queue(stream, [memory] { std::free(memory); });
}
size_t FreeBytes() { return size_t{1} << 28; }
void* AllocateHost(size_t bytes) { return Allocate(bytes); }
void FreeHost(void* memory) { std::free(memory); }

void CopyToDevice(void* device, const void* host, size_t bytes, StreamHandle stream) {
  TESSERA_CHECK(stream->recorded == nullptr);
  CopyOnDevice(device, host, bytes, stream);
}
void CopyToHost(void* host, const void* device, size_t bytes, StreamHandle stream) {
  TESSERA_CHECK(stream->recorded == nullptr);
  CopyOnDevice(host, device, bytes, stream);
}
void CopyOnDevice(void* target, const void* source, size_t bytes, StreamHandle stream) {
  emulated::Queue(stream, [=] { std::memmove(target, source, bytes); });
}
void Zero(void* device, size_t bytes, StreamHandle stream) {
  emulated::Queue(stream, [=] { std::memset(device, 0, bytes); });
}
void Synchronize(StreamHandle stream) {
  TESSERA_CHECK(stream->recorded == nullptr);
  while (!stream->operations.empty()) DoNext(stream);
}
// The device goes on meanwhile, but the first answer is no.
bool Done(StreamHandle stream) {
  const bool done = stream->operations.empty();
  Synchronize(stream);
  return done;
}

EventHandle MakeEvent() { return new CUevent_st; }
void Record(EventHandle event, StreamHandle stream) {
  TESSERA_CHECK(stream->recorded == nullptr);
  event->stream = stream;
  event->reached = std::make_shared<bool>(false);
  emulated::Queue(stream, [event, reached = event->reached] {
    *reached = true;
    event->seconds = emulated::Now();
  });
}
void WaitFor(EventHandle event) {
  while (!*event->reached) DoNext(event->stream);
}
double SecondsBetween(EventHandle begin, EventHandle end) {
  TESSERA_CHECK(*begin->reached && *end->reached);
  return end->seconds - begin->seconds;
}
void FreeEvent(EventHandle event) { delete event; }

void BeginRecording(StreamHandle stream) {
  TESSERA_CHECK(stream->recorded == nullptr);
  stream->recorded = std::make_unique<CUgraphExec_st>();
}
GraphHandle EndRecording(StreamHandle stream) {
  TESSERA_CHECK(stream->recorded != nullptr);
  return stream->recorded.release();
}
void Replay(GraphHandle graph, StreamHandle stream) {
  TESSERA_CHECK(stream->recorded == nullptr);
  for (const auto& operation : graph->operations) emulated::Queue(stream, operation);
}
void FreeGraph(GraphHandle graph) { delete graph; }

namespace {
bool knows_tensor_maps = true;
}  // namespace

void emulated::SetTensorMaps(bool known) { knows_tensor_maps = known; }

// The map is the boxes themselves.
bool MakeTensorMap(const TensorBoxes& boxes, TensorMap& map) {
  if (!knows_tensor_maps) return false;
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
