#include "engine/step/picture_encoder.h"

#include <algorithm>
#include <cstring>

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

// encoded together; more of them gain nothing and hold memory longer
constexpr int64_t kMaxRows = 4800;

}  // namespace

size_t PictureEncoder::DigestHash::operator()(const Digest& digest) const {
  size_t hash = 0;
  std::memcpy(&hash, digest.data(), sizeof(hash));
  return hash;
}

PictureEncoder::PictureEncoder(const VisionEncoder* encoder, Backend& backend, int64_t cache_bytes)
    : encoder_(encoder), backend_(backend), cache_bytes_(cache_bytes) {}

EncodedPicturePtr PictureEncoder::Find(const Digest& digest) {
  EncodedPicturePtr picture = Peek(digest);
  ++(picture == nullptr ? counts_.misses : counts_.hits);
  return picture;
}

EncodedPicturePtr PictureEncoder::Peek(const Digest& digest) {
  const auto found = cache_.find(digest);
  if (found == cache_.end()) return nullptr;
  recency_.splice(recency_.end(), recency_, found->second.recency);
  return found->second.picture;
}

void PictureEncoder::Want(std::vector<std::shared_ptr<const PreparedImage>> pictures) {
  const auto in_batch = [&](const Digest& digest) {
    return batch_ && std::find(batch_->digests.begin(), batch_->digests.end(), digest) !=
                         batch_->digests.end();
  };
  bool batch_wanted = false;
  wanted_.clear();
  for (auto& picture : pictures) {
    if (in_batch(picture->digest)) {
      batch_wanted = true;
      continue;
    }
    const bool known = std::any_of(wanted_.begin(), wanted_.end(), [&](const auto& other) {
      return other->digest == picture->digest;
    });
    if (!known) wanted_.push_back(std::move(picture));
  }
  if (batch_ && !batch_wanted) batch_.reset();
}

// How many of the wanted pictures are encoded together: those that fit into kMaxRows, at least one.
size_t PictureEncoder::NextBatch() const {
  int64_t rows = 0;
  size_t count = 0;
  for (const auto& picture : wanted_) {
    rows += encoder_->Rows(*picture);
    if (count > 0 && rows > kMaxRows) break;
    ++count;
  }
  return count;
}

std::vector<Digest> PictureEncoder::Pending() const {
  if (batch_) return batch_->digests;
  std::vector<Digest> digests;
  const size_t count = NextBatch();
  for (size_t i = 0; i < count; ++i) digests.push_back(wanted_[i]->digest);
  return digests;
}

absl::Status PictureEncoder::Begin() {
  const size_t count = NextBatch();
  Work work;
  std::vector<const PreparedImage*> pictures;
  for (size_t i = 0; i < count; ++i) {
    work.digests.push_back(wanted_[i]->digest);
    work.rows.push_back(wanted_[i]->rows);
    pictures.push_back(wanted_[i].get());
  }
  ASSIGN_OR_RETURN(work.batch, encoder_->Begin(backend_, pictures));
  batch_ = std::move(work);
  wanted_.erase(wanted_.begin(), wanted_.begin() + static_cast<int64_t>(count));
  return absl::OkStatus();
}

absl::StatusOr<double> PictureEncoder::Advance(double flops) {
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

absl::Status PictureEncoder::Finish() {
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
    auto picture = std::make_shared<EncodedPicture>();
    picture->features = features;
    picture->first_row = first;
    picture->rows = work.rows[i];
    picture->taps = taps;
    picture->level_rows = level_rows;
    picture->bytes = row_bytes * static_cast<size_t>(work.rows[i]) * static_cast<size_t>(1 + taps);
    first += work.rows[i];
    Keep(work.digests[i], std::move(picture));
    ++counts_.encoded;
  }
  TESSERA_CHECK(first == level_rows);
  // What was just encoded stays even when it alone is over the budget: somebody waits for it.
  while (cached_bytes_ > cache_bytes_ && recency_.size() > work.digests.size()) DropOldest();
  return absl::OkStatus();
}

void PictureEncoder::Keep(const Digest& digest, EncodedPicturePtr picture) {
  if (cache_.contains(digest)) return;
  cached_bytes_ += static_cast<int64_t>(picture->bytes);
  recency_.push_back(digest);
  cache_[digest] = {std::move(picture), std::prev(recency_.end())};
}

void PictureEncoder::DropOldest() {
  const auto oldest = cache_.find(recency_.front());
  cached_bytes_ -= static_cast<int64_t>(oldest->second.picture->bytes);
  cache_.erase(oldest);
  recency_.pop_front();
}

absl::Status PictureErrorForClient(const absl::Status& status) {
  if (status.code() != absl::StatusCode::kResourceExhausted) return status;
  return RequestError(absl::StatusCode::kResourceExhausted, ErrorReason::kQueueFull, "",
                      "the server has no memory for these pictures just now; try again later, or "
                      "send fewer or smaller ones");
}

}  // namespace tessera
