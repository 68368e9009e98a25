#include "cuda/tile_timer.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "cuda/weights.h"
#include "engine/base/check.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr int kFewestLaunches = 4;
constexpr int kMaxCopies = 32;
constexpr double kMaxRowBytes = 1 << 30;  // of x and y
constexpr size_t kRandomBytes = size_t{1} << 20;

bool IsQuantised(WeightFormat format) { return format != WeightFormat::kActivations; }

int64_t RoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

int64_t StrideOf(const ProductShape& shape) {
  return RoundUp(shape.in, RowUnit(shape.format, DType::kBFloat16));
}

// Of one copy.
int64_t WeightBytes(const ProductShape& shape) {
  return shape.experts * MatrixBytes(shape.format, DType::kBFloat16, shape.out, StrideOf(shape));
}

int64_t Columns(const ProductShape& shape) { return shape.gated ? shape.out / 2 : shape.out; }

struct FreeGraph {
  void operator()(gpu::GraphHandle graph) const { gpu::FreeGraph(graph); }
};
using Graph = std::unique_ptr<CUgraphExec_st, FreeGraph>;

}  // namespace

TileTimer::TileTimer(const ProductShape& shape, DType dtype, int multiprocessors,
                     const Options& options, Staging& staging, gpu::StreamHandle stream)
    : shape_(shape),
      dtype_(dtype),
      multiprocessors_(multiprocessors),
      options_(options),
      staging_(staging),
      stream_(stream),
      begin_(gpu::MakeEvent()),
      end_(gpu::MakeEvent()) {}

absl::StatusOr<std::unique_ptr<TileTimer>> TileTimer::Make(const ProductShape& shape, DType dtype,
                                                           int multiprocessors,
                                                           const Options& options, Staging& staging,
                                                           gpu::StreamHandle stream) {
  std::unique_ptr<TileTimer> timer(
      new TileTimer(shape, dtype, multiprocessors, options, staging, stream));
  RETURN_IF_ERROR(timer->Allocate());
  timer->SetPlaces(timer->most_places_);
  if (!cuda::HopperProductFits(timer->ProductOf(0))) {
    return absl::FailedPreconditionError("the kernel does not take it");
  }
  return timer;
}

absl::Status TileTimer::Allocate() {
  const int64_t row_bytes = (shape_.in + Columns(shape_)) * 2;
  most_places_ = options_.most_places;
  while (most_places_ > 1 && static_cast<double>(most_places_ * row_bytes) > kMaxRowBytes) {
    most_places_ /= 2;
  }
  const int64_t bytes = WeightBytes(shape_);
  // The rest is for what the weights are read for.
  const double room = std::min(options_.cold_bytes, static_cast<double>(gpu::FreeBytes()) / 2);
  const double wanted = std::ceil(room / static_cast<double>(bytes));
  const int copies = static_cast<int>(std::clamp(wanted, 1.0, double{kMaxCopies}));
  for (int i = 0; i < copies; ++i) {
    ASSIGN_OR_RETURN(DeviceMemory copy, DeviceMemory::Allocate(static_cast<size_t>(bytes)));
    cuda::HopperMaps maps;
    if (!cuda::MapHopperWeights(copy.data(), shape_.format, shape_.experts, shape_.out,
                                StrideOf(shape_), maps)) {
      return absl::FailedPreconditionError("its weights have no tensor map");
    }
    FillRandomly(copy);
    weights_.push_back(std::move(copy));
    maps_.push_back(maps);
  }
  const auto size = [](int64_t elements, int64_t each) {
    return static_cast<size_t>(elements * each);
  };
  ASSIGN_OR_RETURN(x_, DeviceMemory::Allocate(size(most_places_ * shape_.in, 2)));
  ASSIGN_OR_RETURN(y_, DeviceMemory::Allocate(size(most_places_ * Columns(shape_), 2)));
  ASSIGN_OR_RETURN(rows_, DeviceMemory::Allocate(size(most_places_, 4)));
  ASSIGN_OR_RETURN(starts_, DeviceMemory::Allocate(size(launches() * (shape_.experts + 1), 4)));
  ASSIGN_OR_RETURN(scales_, DeviceMemory::Allocate(size(shape_.experts * shape_.out, 4)));
  ASSIGN_OR_RETURN(row_scales_, DeviceMemory::Allocate(size(most_places_, 4)));
  gpu::Zero(row_scales_.data(), row_scales_.bytes(), stream_);
  FillRandomly(x_);
  gpu::Zero(scales_.data(), scales_.bytes(), stream_);
  return absl::OkStatus();
}

// Magnitudes of [0.5, 2); as quantised weights any number but E4M3's NaN.
void TileTimer::FillRandomly(const DeviceMemory& memory) {
  unsigned fixed = 0;
  unsigned free = 0xfbfb;
  const bool narrow = &memory == &x_ ? x_type() == DType::kFloat8 : IsQuantised(shape_.format);
  if (!narrow) {
    fixed = dtype_ == DType::kBFloat16 ? 0x3f00 : 0x3800;
    free = dtype_ == DType::kBFloat16 ? 0x80ff : 0x87ff;
  }
  std::mt19937 random(1);
  const size_t bytes = std::min(memory.bytes(), kRandomBytes);
  std::vector<uint16_t> numbers((bytes + 1) / 2);
  for (uint16_t& number : numbers) number = static_cast<uint16_t>(fixed | (random() & free));
  staging_.Upload(numbers.data(), bytes, memory.data());
  for (size_t filled = bytes; filled < memory.bytes(); filled *= 2) {
    gpu::CopyOnDevice(static_cast<char*>(memory.data()) + filled, memory.data(),
                      std::min(filled, memory.bytes() - filled), stream_);
  }
}

DType TileTimer::x_type() const {
  return shape_.format == WeightFormat::kFloat8W8A8 ? DType::kFloat8 : dtype_;
}

int TileTimer::launches() const {
  return std::max(kFewestLaunches, static_cast<int>(weights_.size()));
}

void TileTimer::SetPlaces(int64_t places) {
  TESSERA_CHECK(places > 0 && places <= most_places_);
  places_ = places;
  std::mt19937 random(2);
  std::vector<int32_t> rows(static_cast<size_t>(places));
  for (int32_t& row : rows) row = static_cast<int32_t>(random() % static_cast<uint64_t>(places));
  staging_.Upload(rows.data(), rows.size() * sizeof(int32_t), rows_.data());
  const auto line = static_cast<size_t>(shape_.experts + 1);
  std::vector<int32_t> starts(static_cast<size_t>(launches()) * line);
  for (size_t begin = 0; begin < starts.size(); begin += line) {
    for (int64_t place = 0; place < places; ++place) {
      ++starts[begin + 1 + random() % static_cast<uint64_t>(shape_.experts)];
    }
    for (size_t i = 1; i < line; ++i) starts[begin + i] += starts[begin + i - 1];
  }
  staging_.Upload(starts.data(), starts.size() * sizeof(int32_t), starts_.data());
}

cuda::Product TileTimer::ProductOf(int launch) const {
  cuda::Product product;
  product.x = Tensor(x_type(), {places_, shape_.in}, x_.data());
  if (x_type() == DType::kFloat8)
    product.row_scales = static_cast<const float*>(row_scales_.data());
  if (shape_.gathered) product.rows = static_cast<const int32_t*>(rows_.data());
  if (shape_.gathered || shape_.experts > 1) {
    product.starts = static_cast<const int32_t*>(starts_.data()) + launch * (shape_.experts + 1);
  }
  product.places = places_;
  product.experts = shape_.experts;
  product.weights = weights_[static_cast<size_t>(launch) % weights_.size()].data();
  product.format = shape_.format;
  const bool row_scales =
      shape_.format == WeightFormat::kFloat8 || shape_.format == WeightFormat::kInt8;
  if (row_scales) product.scales = static_cast<const float*>(scales_.data());
  product.out = shape_.out;
  product.stride = StrideOf(shape_);
  product.activation = shape_.gated ? Activation::kSilu : Activation::kNone;
  product.gated = shape_.gated;
  product.y = Tensor(dtype_, {places_, Columns(shape_)}, y_.data());
  return product;
}

void TileTimer::Launch(int launch, const cuda::HopperTile& tile) {
  cuda::RunHopperProduct(ProductOf(launch), maps_[static_cast<size_t>(launch) % maps_.size()], tile,
                         multiprocessors_, stream_);
}

// As a graph, so that what is timed is not how fast the host launches; the first launch loads the
// kernel, the first replay the graph.
double TileTimer::Time(const cuda::HopperTile& tile) {
  Launch(0, tile);
  gpu::BeginRecording(stream_);
  for (int i = 0; i < launches(); ++i) Launch(i, tile);
  const Graph graph(gpu::EndRecording(stream_));
  gpu::Replay(graph.get(), stream_);
  std::vector<double> seconds;
  for (int i = 0; i < options_.repeats; ++i) {
    gpu::Record(begin_.get(), stream_);
    gpu::Replay(graph.get(), stream_);
    gpu::Record(end_.get(), stream_);
    gpu::Synchronize(stream_);
    seconds.push_back(gpu::SecondsBetween(begin_.get(), end_.get()) / launches());
  }
  const auto middle = seconds.begin() + options_.repeats / 2;
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle;
}

}  // namespace tessera
