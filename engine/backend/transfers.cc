// What crosses between the host and a device, the device-independent half.
#include <array>

#include "engine/backend/backend.h"
#include "engine/base/check.h"

namespace tessera {

Tensor Backend::Upload(std::span<const int32_t> values, Dims dims) {
  Tensor target = New(DType::kInt32, dims);
  TESSERA_CHECK(target.elements() == static_cast<int64_t>(values.size()));
  DoUpload(values.data(), target);
  return target;
}

Tensor Backend::Upload(std::span<const float> values, Dims dims) {
  Tensor target = New(DType::kFloat32, dims);
  TESSERA_CHECK(target.elements() == static_cast<int64_t>(values.size()));
  DoUpload(values.data(), target);
  return target;
}

Tensor Backend::UploadActivations(std::span<const float> values, Dims dims) {
  Tensor target = New(activation_dtype(), dims);
  TESSERA_CHECK(target.elements() == static_cast<int64_t>(values.size()));
  DoLoad({DType::kFloat32, {target.elements()}, values.data()}, target);
  return target;
}

Download::Download(Tensor source, std::vector<int32_t>& target) : source(source) {
  TESSERA_CHECK(source.dtype == DType::kInt32);
  target.resize(static_cast<size_t>(source.elements()));
  this->target = target.data();
}

Download::Download(Tensor source, std::vector<float>& target) : source(source) {
  TESSERA_CHECK(source.dtype != DType::kInt32 && source.dtype != DType::kInt64);
  target.resize(static_cast<size_t>(source.elements()));
  this->target = target.data();
}

std::unique_ptr<PendingCopy> Backend::StartDownload(std::span<const Download> downloads) {
  for (const Download& download : downloads) {
    const DType dtype = download.source.dtype;
    TESSERA_CHECK(dtype == DType::kInt32 || dtype == DType::kFloat32 ||
                  dtype == activation_dtype());
  }
  return DoDownload(downloads);
}

std::vector<float> Backend::DownloadFloats(Tensor source) {
  std::vector<float> values;
  StartDownload(std::array{Download(source, values)})->Wait();
  return values;
}

std::vector<int32_t> Backend::DownloadInts(Tensor source) {
  return DownloadInts(std::span(&source, 1)).front();
}

std::vector<std::vector<int32_t>> Backend::DownloadInts(std::span<const Tensor> sources) {
  std::vector<std::vector<int32_t>> values(sources.size());
  std::vector<Download> downloads;
  for (size_t i = 0; i < sources.size(); ++i) downloads.emplace_back(sources[i], values[i]);
  StartDownload(downloads)->Wait();
  return values;
}

void Backend::Copy(Tensor source, Tensor target) {
  TESSERA_CHECK(source.dtype == target.dtype && source.rank == target.rank);
  TESSERA_CHECK(source.dims == target.dims);
  DoCopy(source, target);
}

}  // namespace tessera
