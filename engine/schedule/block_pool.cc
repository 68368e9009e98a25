#include "engine/schedule/block_pool.h"

#include <cstring>

#include "engine/base/check.h"

namespace tessera {

size_t BlockPool::DigestHash::operator()(const Digest& digest) const {
  size_t hash = 0;
  std::memcpy(&hash, digest.data(), sizeof(hash));
  return hash;
}

BlockPool::BlockPool(int32_t blocks) : blocks_(static_cast<size_t>(blocks)) {
  for (BlockId block = blocks - 1; block >= 0; --block) free_.push_back(block);
}

std::optional<BlockId> BlockPool::Allocate() {
  BlockId block = 0;
  if (!free_.empty()) {
    block = free_.back();
    free_.pop_back();
  } else if (!cached_.empty()) {
    block = cached_.front();
    cached_.pop_front();
    std::optional<Digest>& hash = blocks_[static_cast<size_t>(block)].hash;
    published_.erase(*hash);
    hash.reset();
  } else {
    return std::nullopt;
  }
  blocks_[static_cast<size_t>(block)].holders = 1;
  return block;
}

std::optional<BlockId> BlockPool::Take(const Digest& hash) {
  const auto found = published_.find(hash);
  if (found == published_.end()) return std::nullopt;
  Block& block = blocks_[static_cast<size_t>(found->second)];
  if (block.holders++ == 0) cached_.erase(block.in_cached);
  return found->second;
}

void BlockPool::Release(BlockId id) {
  Block& block = blocks_[static_cast<size_t>(id)];
  TESSERA_CHECK(block.holders > 0);
  if (--block.holders > 0) return;
  if (block.hash) {
    block.in_cached = cached_.insert(cached_.end(), id);
  } else {
    free_.push_back(id);
  }
}

void BlockPool::Publish(BlockId id, const Digest& hash) {
  Block& block = blocks_[static_cast<size_t>(id)];
  TESSERA_CHECK(block.holders > 0);
  if (block.hash) return;
  if (published_.emplace(hash, id).second) block.hash = hash;
}

bool BlockPool::MustCopy(BlockId id) const {
  const Block& block = blocks_[static_cast<size_t>(id)];
  return block.holders > 1 || block.hash.has_value();
}

}  // namespace tessera
