// Encodes the images that running sequences wait for and keeps the results for reuse. Images
// that wait together are encoded together, slice by slice, so that the step loop decides how much
// of it a step takes.
//
// Results are shared: a sequence holds those it still needs, the cache the most recently used ones
// within its byte budget. Thread: the engine's. Tests: image_encoder_test.cc.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/image/prepared_image.h"
#include "engine/model/image_features.h"
#include "engine/model/vision_encoder.h"

namespace tessera {

struct ImageCounts {
  uint64_t encoded = 0;
  uint64_t hits = 0;
  uint64_t misses = 0;
};

class ImageEncoder {
 public:
  // `encoder` may be null for models that take no images; it works on `backend`.
  ImageEncoder(const VisionEncoder* encoder, Backend& backend, int64_t cache_bytes);

  // The encoded image if it is at hand. Find() counts as a lookup, Peek() does not.
  ImageFeaturesPtr Find(const Digest& digest);
  ImageFeaturesPtr Peek(const Digest& digest);

  // What is to be encoded, most urgent first; replaces what was said before. A batch under way of
  // which nothing is wanted any more is dropped, with its memory.
  void Want(std::vector<std::shared_ptr<const PreparedImage>> images);
  bool busy() const { return batch_.has_value() || !wanted_.empty(); }

  // About `flops` floating-point operations on one batch; tells how many it were. Finished images
  // are found by Find() from then on. RESOURCE_EXHAUSTED when there is no memory for them.
  absl::StatusOr<double> Advance(double flops);
  // Images of the batch under way or, if none is, of the one that would be next.
  std::vector<Digest> Pending() const;

  int64_t cached_bytes() const { return cached_bytes_; }
  const ImageCounts& counts() const { return counts_; }

 private:
  struct DigestHash {
    size_t operator()(const Digest& digest) const;
  };
  struct CacheEntry {
    ImageFeaturesPtr image;
    std::list<Digest>::iterator recency;
  };
  struct Work {
    std::vector<Digest> digests;
    std::vector<int32_t> rows;
    VisionBatch batch;
  };

  size_t NextBatch() const;
  absl::Status Begin();
  absl::Status Finish();
  void Keep(const Digest& digest, ImageFeaturesPtr image);
  void DropOldest();

  const VisionEncoder* encoder_;
  Backend& backend_;
  int64_t cache_bytes_;
  int64_t cached_bytes_ = 0;
  std::vector<std::shared_ptr<const PreparedImage>> wanted_;
  std::optional<Work> batch_;
  absl::flat_hash_map<Digest, CacheEntry, DigestHash> cache_;
  std::list<Digest> recency_;  // least recently used first
  ImageCounts counts_;
};

// What a client is told of an error of Advance(): where memory is short, the device's own words are
// for the operator.
absl::Status ImageErrorForClient(const absl::Status& status);

}  // namespace tessera
