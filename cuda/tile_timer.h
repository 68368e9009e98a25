// Times products of one shape on the device, with weights, rows and choices of experts of its own:
// random numbers, since zeros cost less power and so less time. Experts are chosen evenly at
// random, and so many copies of the weights take turns that each is read from memory.
#pragma once

#include <memory>
#include <vector>

#include "cuda/device_memory.h"
#include "cuda/kernels/product_hopper.h"
#include "cuda/staging.h"
#include "cuda/tile_table.h"

namespace tessera {

class TileTimer {
 public:
  struct Options {
    int64_t most_places = MostPlaces(kPlaceBuckets - 1);
    double cold_bytes = 4 * 60e6;  // of weights that are read before any is read again
    int repeats = 3;               // the time is their median
  };

  // The stream's own work must be done. RESOURCE_EXHAUSTED where the device lacks the memory,
  // FAILED_PRECONDITION where the Hopper kernel does not take such products.
  static absl::StatusOr<std::unique_ptr<TileTimer>> Make(const ProductShape& shape, DType dtype,
                                                         int multiprocessors,
                                                         const Options& options, Staging& staging,
                                                         gpu::StreamHandle stream);

  ~TileTimer() { gpu::Synchronize(stream_); }

  // What its memory is for, at most options.most_places.
  int64_t most_places() const { return most_places_; }
  int multiprocessors() const { return multiprocessors_; }
  // From now on products are of so many places, at most most_places().
  void SetPlaces(int64_t places);
  // Seconds of one product.
  double Time(const cuda::HopperTile& tile);

 private:
  struct FreeEvent {
    void operator()(gpu::EventHandle event) const { gpu::FreeEvent(event); }
  };
  using Event = std::unique_ptr<CUevent_st, FreeEvent>;

  TileTimer(const ProductShape& shape, DType dtype, int multiprocessors, const Options& options,
            Staging& staging, gpu::StreamHandle stream);
  absl::Status Allocate();
  void FillRandomly(const DeviceMemory& memory);
  // Products of a measurement: launch i takes copy i % copies of the weights and choice i.
  int launches() const;
  DType x_type() const;
  cuda::Product ProductOf(int launch) const;
  void Launch(int launch, const cuda::HopperTile& tile);

  const ProductShape shape_;
  const DType dtype_;
  const int multiprocessors_;
  const Options options_;
  Staging& staging_;
  const gpu::StreamHandle stream_;
  int64_t most_places_ = 0;
  int64_t places_ = 0;
  std::vector<DeviceMemory> weights_;   // copies
  std::vector<cuda::HopperMaps> maps_;  // of each
  DeviceMemory scales_, row_scales_, x_, y_, rows_, starts_;
  Event begin_, end_;
};

}  // namespace tessera
