// What every section of gpu_ops_bench works with. A section measures one kind of operation and adds
// its rows to the table.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench/gpu/measure.h"
#include "bench/gpu/numbers.h"
#include "bench/gpu/timer.h"
#include "cuda/weight_format.h"
#include "engine/backend/backend.h"

namespace tessera::bench {

// The largest relative error of one operation with one rounding of bfloat16 inside and one at its
// end.
constexpr double kTolerance = 1e-2;

class Bench {
 public:
  struct Options {
    bool smoke = false;  // tiny shapes: tests the benchmark, measures nothing of worth
    int samples = 30;
    int block_size = 0;  // of the paged cache; 0: Backend::BlockRows(), as in the engine
    WeightFormat weights = WeightFormat::kActivations;  // as the backend was told
    std::string routing_folder;  // where the routing that was measured is written for others to
                                 // use; empty: nowhere
  };
  // Bytes that a rotation of copies must touch to find nothing in a cache of 60 MB.
  static constexpr double kColdBytes = 4 * 60e6;

  Bench(Backend& backend, Timer& timer, Table& table, Options options);

  Backend& backend() { return backend_; }
  const Options& options() const { return options_; }
  const NormalNumbers& weights() const { return weights_; }          // σ 0.02
  const NormalNumbers& activations() const { return activations_; }  // σ 1
  DType dtype() const { return backend_.activation_dtype(); }
  double element_bytes() const { return static_cast<double>(DTypeBytes(dtype())); }
  // Of an element of the weights, their scales apart.
  double weight_bytes(bool logits = false) const;
  // kTolerance and what few bits of the weights cost, Gaussian as they are.
  double tolerance() const;

  // How many copies of something of `bytes` a rotation needs: at least 3.
  int Copies(double bytes) const;
  // A tensor that stays: activations' dtype or, KeepFloats, float32.
  Tensor Keep(const std::vector<uint16_t>& values, Dims dims);
  Tensor KeepFloats(const std::vector<float>& values, Dims dims);
  Tensor KeepInts(const std::vector<int32_t>& values, Dims dims);
  Tensor KeepCopy(Tensor source);
  Tensor KeepZeros(DType dtype, Dims dims);
  // Frees what was kept.
  void Drop() { kept_.clear(); }

  // Fills the first `bytes` of the arena with NaN, so that a place nobody writes is seen.
  void Poison(double bytes);
  // Seconds of one operation with each sample: operation(c) uses copy c; the copies take turns.
  std::vector<double> Measure(int copies, const std::function<void(int)>& operation);
  // The same, added to the table with a row's other fields as given.
  void Add(Row row, int copies, const std::function<void(int)>& operation);

 private:
  Backend& backend_;
  Timer& timer_;
  Table& table_;
  const Options options_;
  const NormalNumbers weights_;
  const NormalNumbers activations_;
  std::vector<std::unique_ptr<Buffer>> kept_;
  std::unique_ptr<Buffer> nan_;
};

// ‖out − ref‖ / ‖ref‖; NaN where `all` holds one.
double RelativeError(std::span<const float> out, std::span<const double> reference);
bool AllFinite(const std::vector<float>& values);

void MoeRows(Bench& bench);
void AttentionRows(Bench& bench);
void DenseRows(Bench& bench);
void VisionRows(Bench& bench);
void StepRows(Bench& bench);
void SamplingRows(Bench& bench);

}  // namespace tessera::bench
