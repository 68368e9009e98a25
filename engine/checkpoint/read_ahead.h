// Reads the files of a checkpoint into the page cache while the loader converts what is there
// already, so that loading from a cold disk takes about as long as reading it. One thread of its
// own, which only gives the kernel hints.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/base/mapped_file.h"

namespace tessera {

class ReadAhead {
 public:
  // Begins at once, in the order of `files`, which must outlive this.
  explicit ReadAhead(std::vector<const MappedFile*> files);
  // Ends without waiting for the disk.
  ~ReadAhead() = default;

  // `bytes` of all files together have been used: reading goes on up to a bounded distance ahead of
  // them.
  void Used(int64_t bytes);

 private:
  void Run(std::stop_token stop, const std::vector<const MappedFile*>& files);

  std::mutex mutex_;
  std::condition_variable_any changed_;
  int64_t used_ = 0;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace tessera
