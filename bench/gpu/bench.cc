#include "bench/gpu/bench.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/base/check.h"

namespace tessera::bench {
namespace {

constexpr double kRunSeconds = 2e-3;  // so that a run is long beside the clock's steps
constexpr int kMaxOperations = 24;    // of a run
constexpr int64_t kNanElements = int64_t{1} << 20;

template <typename T>
T Value(absl::StatusOr<T> result) {
  TESSERA_CHECK_MSG(result.ok(), result.status().ToString());
  return *std::move(result);
}

}  // namespace

Bench::Bench(Backend& backend, Timer& timer, Table& table, Options options)
    : backend_(backend),
      timer_(timer),
      table_(table),
      options_(std::move(options)),
      weights_(0.02f, 1),
      activations_(1.0f, 2) {
  const std::vector<float> nan(kNanElements, std::numeric_limits<float>::quiet_NaN());
  nan_ = Value(backend_.Load({DType::kFloat32, {kNanElements}, nan.data()}, dtype()));
}

double Bench::weight_bytes(bool logits) const {
  switch (options_.weights) {
    case WeightFormat::kFloat8:
    case WeightFormat::kInt8:
    case WeightFormat::kFloat8W8A8:
      return 1;
    case WeightFormat::kInt4:
      return logits ? 1 : 0.5;
    case WeightFormat::kActivations:
      break;
  }
  return element_bytes();
}

double Bench::tolerance() const {
  switch (options_.weights) {
    case WeightFormat::kFloat8:
      return 1e-1;
    case WeightFormat::kFloat8W8A8:
      return 1.5e-1;
    case WeightFormat::kInt8:
      return 3e-2;
    case WeightFormat::kInt4:
      return 3e-1;
    case WeightFormat::kActivations:
      break;
  }
  return kTolerance;
}

int Bench::Copies(double bytes) const {
  if (options_.smoke) return 3;
  return std::max(3, static_cast<int>(std::ceil(kColdBytes / bytes)));
}

Tensor Bench::Keep(const std::vector<uint16_t>& values, Dims dims) {
  kept_.push_back(
      Value(backend_.Load({DType::kBFloat16, {dims.begin(), dims.end()}, values.data()}, dtype())));
  return kept_.back()->tensor();
}

Tensor Bench::KeepFloats(const std::vector<float>& values, Dims dims) {
  kept_.push_back(Value(backend_.Load({DType::kFloat32, {dims.begin(), dims.end()}, values.data()},
                                      DType::kFloat32)));
  return kept_.back()->tensor();
}

Tensor Bench::KeepInts(const std::vector<int32_t>& values, Dims dims) {
  return KeepCopy(backend_.Upload(values, dims));
}

Tensor Bench::KeepCopy(Tensor source) {
  kept_.push_back(Value(backend_.Allocate(source.dtype, {source.elements()})));
  Tensor kept = source;
  kept.data = kept_.back()->tensor().data;
  backend_.Copy(source, kept);
  return kept;
}

Tensor Bench::KeepZeros(DType dtype, Dims dims) {
  kept_.push_back(Value(backend_.Allocate(dtype, dims)));
  return kept_.back()->tensor();
}

void Bench::Poison(double bytes) {
  const int rounds = 1 + static_cast<int>(bytes / (kNanElements * element_bytes()));
  for (int time = 0; time < 2;
       ++time) {  // the arena is one piece of memory from the second time on
    backend_.ResetArena();
    for (int i = 0; i < rounds; ++i) {
      backend_.Copy(nan_->tensor(), backend_.New(dtype(), {kNanElements}));
    }
  }
  backend_.ResetArena();
}

std::vector<double> Bench::Measure(int copies, const std::function<void(int)>& operation) {
  int operations = copies;
  const auto run = [&] {
    for (int i = 0; i < operations; ++i) operation(i % copies);
  };
  const double once = QuantilesOf(timer_.Time(run, 3)).median / copies;
  const int wanted = std::clamp(static_cast<int>(kRunSeconds / once), 1, kMaxOperations);
  operations = (wanted + copies - 1) / copies * copies;
  auto seconds = timer_.Time(run, options_.samples);
  for (double& value : seconds) value /= operations;
  return seconds;
}

void Bench::Add(Row row, int copies, const std::function<void(int)>& operation) {
  row.seconds = Measure(copies, operation);
  table_.Add(row);
}

double RelativeError(std::span<const float> out, std::span<const double> reference) {
  double difference = 0;
  double size = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    difference += (out[i] - reference[i]) * (out[i] - reference[i]);
    size += reference[i] * reference[i];
  }
  return std::sqrt(difference / size);
}

bool AllFinite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(),
                     [](float value) { return std::isfinite(value); });
}

}  // namespace tessera::bench
