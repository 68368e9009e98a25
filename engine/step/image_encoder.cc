#include "engine/step/image_encoder.h"

#include <algorithm>
#include <cstring>

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

// encoded together; more of them gain nothing and hold memory longer
constexpr int64_t kMaxRows = 4800;

}  // namespace

size_t ImageEncoder::DigestHash::operator()(const Digest& digest) const {
  size_t hash = 0;
  std::memcpy(&hash, digest.data(), sizeof(hash));
  return hash;
}

ImageEncoder::ImageEncoder(const VisionEncoder* encoder, Backend& backend, int64_t cache_bytes)
    : encoder_(encoder), backend_(backend), cache_bytes_(cache_bytes) {}

ImageFeaturesPtr ImageEncoder::Find(const Digest& digest) {
  ImageFeaturesPtr image = Peek(digest);
  ++(image == nullptr ? counts_.misses : counts_.hits);
  return image;
}

ImageFeaturesPtr ImageEncoder::Peek(const Digest& digest) {
  const auto found = cache_.find(digest);
  if (found == cache_.end()) return nullptr;
  recency_.splice(recency_.end(), recency_, found->second.recency);
  return found->second.image;
}

void ImageEncoder::Want(std::vector<std::shared_ptr<const PreparedImage>> images) {
  const auto in_batch = [&](const Digest& digest) {
    return batch_ && std::find(batch_->digests.begin(), batch_->digests.end(), digest) !=
                         batch_->digests.end();
  };
  bool batch_wanted = false;
  wanted_.clear();
  for (auto& image : images) {
    if (in_batch(image->digest)) {
      batch_wanted = true;
      continue;
    }
    const bool known = std::any_of(wanted_.begin(), wanted_.end(), [&](const auto& other) {
      return other->digest == image->digest;
    });
    if (!known) wanted_.push_back(std::move(image));
  }
  if (batch_ && !batch_wanted) batch_.reset();
}

// How many of the wanted images are encoded together: those that fit into kMaxRows, at least one.
size_t ImageEncoder::NextBatch() const {
  int64_t rows = 0;
  size_t count = 0;
  for (const auto& image : wanted_) {
    rows += encoder_->Rows(*image);
    if (count > 0 && rows > kMaxRows) break;
    ++count;
  }
  return count;
}

std::vector<Digest> ImageEncoder::Pending() const {
  if (batch_) return batch_->digests;
  std::vector<Digest> digests;
  const size_t count = NextBatch();
  for (size_t i = 0; i < count; ++i) digests.push_back(wanted_[i]->digest);
  return digests;
}

absl::Status ImageEncoder::Begin() {
  const size_t count = NextBatch();
  Work work;
  std::vector<const PreparedImage*> images;
  for (size_t i = 0; i < count; ++i) {
    work.digests.push_back(wanted_[i]->digest);
    work.rows.push_back(wanted_[i]->rows);
    images.push_back(wanted_[i].get());
  }
  ASSIGN_OR_RETURN(work.batch, encoder_->Begin(backend_, images));
  batch_ = std::move(work);
  wanted_.erase(wanted_.begin(), wanted_.begin() + static_cast<int64_t>(count));
  return absl::OkStatus();
}

absl::StatusOr<double> ImageEncoder::Advance(double flops) {
  if (!batch_) {
    if (wanted_.empty()) return 0.0;
    RETURN_IF_ERROR(Begin());
  }
  const absl::StatusOr<double> done = encoder_->Advance(backend_, batch_->batch, flops);
  if (!done.ok()) {
    batch_.reset();
    return done.status();
  }
  if (encoder_->Done(batch_->batch)) RETURN_IF_ERROR(Finish());
  return done;
}

absl::Status ImageEncoder::Finish() {
  Work work = *std::move(batch_);
  batch_.reset();
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> rows, encoder_->Finish(backend_, work.batch));
  const std::shared_ptr<Buffer> features = std::move(rows);
  const size_t row_bytes =
      features->tensor().bytes() / static_cast<size_t>(features->tensor().rows());
  const int taps = encoder_->taps();
  const auto level_rows = static_cast<int32_t>(features->tensor().rows() / (1 + taps));
  int32_t first = 0;
  for (size_t i = 0; i < work.digests.size(); ++i) {
    auto image = std::make_shared<ImageFeatures>();
    image->features = features;
    image->first_row = first;
    image->rows = work.rows[i];
    image->taps = taps;
    image->level_rows = level_rows;
    image->bytes = row_bytes * static_cast<size_t>(work.rows[i]) * static_cast<size_t>(1 + taps);
    first += work.rows[i];
    Keep(work.digests[i], std::move(image));
    ++counts_.encoded;
  }
  TESSERA_CHECK(first == level_rows);
  // What was just encoded stays even when it alone is over the budget: somebody waits for it.
  while (cached_bytes_ > cache_bytes_ && recency_.size() > work.digests.size()) DropOldest();
  return absl::OkStatus();
}

void ImageEncoder::Keep(const Digest& digest, ImageFeaturesPtr image) {
  if (cache_.contains(digest)) return;
  cached_bytes_ += static_cast<int64_t>(image->bytes);
  recency_.push_back(digest);
  cache_[digest] = {std::move(image), std::prev(recency_.end())};
}

void ImageEncoder::DropOldest() {
  const auto oldest = cache_.find(recency_.front());
  cached_bytes_ -= static_cast<int64_t>(oldest->second.image->bytes);
  cache_.erase(oldest);
  recency_.pop_front();
}

absl::Status ImageErrorForClient(const absl::Status& status) {
  if (status.code() != absl::StatusCode::kResourceExhausted) return status;
  return RequestError(absl::StatusCode::kResourceExhausted, ErrorReason::kQueueFull, "",
                      "the server has no memory for these images just now; try again later, or "
                      "send fewer or smaller ones");
}

}  // namespace tessera
