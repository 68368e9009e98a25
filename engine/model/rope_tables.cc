#include "engine/model/rope_tables.h"

#include <cmath>

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace tessera {

absl::Status LoadRopeTables(int64_t positions, const std::vector<float>& frequencies,
                            const std::vector<int32_t>& axes, WeightStore& store,
                            std::vector<std::unique_ptr<Buffer>>& keep, Rope& rope) {
  const auto pairs = static_cast<int64_t>(frequencies.size());
  TESSERA_CHECK(axes.size() == frequencies.size());
  std::vector<float> cosine, sine;
  cosine.reserve(static_cast<size_t>(positions * pairs));
  sine.reserve(static_cast<size_t>(positions * pairs));
  for (int64_t position = 0; position < positions; ++position) {
    for (const float frequency : frequencies) {
      const float angle = static_cast<float>(position) * frequency;
      cosine.push_back(std::cos(angle));
      sine.push_back(std::sin(angle));
    }
  }
  const auto load = [&](const HostTensor& source, Tensor& target) -> absl::Status {
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> buffer, store.Load(source, source.dtype));
    target = buffer->tensor();
    keep.push_back(std::move(buffer));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(load({DType::kFloat32, {positions, pairs}, cosine.data()}, rope.cosine));
  RETURN_IF_ERROR(load({DType::kFloat32, {positions, pairs}, sine.data()}, rope.sine));
  return load({DType::kInt32, {pairs}, axes.data()}, rope.pair_axis);
}

}  // namespace tessera
