#include "engine/checkpoint/read_ahead.h"

#include <algorithm>

namespace tessera {
namespace {

constexpr int64_t kStepBytes = int64_t{4} << 20;
constexpr int64_t kAheadBytes = int64_t{1} << 30;

}  // namespace

ReadAhead::ReadAhead(std::vector<const MappedFile*> files)
    : thread_([this, files = std::move(files)](std::stop_token stop) { Run(stop, files); }) {}

void ReadAhead::Used(int64_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    used_ = bytes;
  }
  changed_.notify_one();
}

void ReadAhead::Run(std::stop_token stop, const std::vector<const MappedFile*>& files) {
  int64_t read = 0;
  for (const MappedFile* file : files) {
    const auto size = static_cast<int64_t>(file->bytes().size());
    for (int64_t at = 0; at < size; at += kStepBytes) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, stop, [&] { return read < used_ + kAheadBytes; });
      }
      if (stop.stop_requested()) return;
      const int64_t step = std::min(kStepBytes, size - at);
      file->WillNeed(file->bytes().data() + at, static_cast<size_t>(step));
      read += step;
    }
  }
}

}  // namespace tessera
