// Ids of KV blocks: who holds them, which of them have contents worth keeping, which one to give up
// next. No device memory.
//
// Each block is in exactly one state:
//   used    at least one holder
//   cached  no holder, but published: its contents answer to a hash and may be taken again; given
//   up least recently released first free    no holder, no contents
// A published block is never written again; who wants to write takes a copy. Thread: the engine's.
// Tests: block_pool_test.cc.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/sha256.h"

namespace tessera {

using BlockId = int32_t;

class BlockPool {
 public:
  explicit BlockPool(int32_t blocks);

  // A block with one holder and no contents; the longest unused cached block is given up when none
  // is free. Nothing when all are used.
  std::optional<BlockId> Allocate();
  // The published block of this hash with one more holder, if there is one.
  std::optional<BlockId> Take(const Digest& hash);
  // REQUIRES: the block is used.
  void Release(BlockId block);
  // From now on the block's contents answer to `hash`, unless another block's do already. REQUIRES:
  // the block is used.
  void Publish(BlockId block, const Digest& hash);

  // Writing needs a copy: others hold the block, too, or its contents are published.
  bool MustCopy(BlockId block) const;

  int32_t total() const { return static_cast<int32_t>(blocks_.size()); }
  int32_t used() const { return total() - available(); }
  int32_t cached() const { return static_cast<int32_t>(cached_.size()); }
  // What Allocate() can give: free and cached.
  int32_t available() const { return static_cast<int32_t>(free_.size() + cached_.size()); }

 private:
  struct Block {
    int32_t holders = 0;
    std::optional<Digest> hash;              // published
    std::list<BlockId>::iterator in_cached;  // valid while cached
  };
  struct DigestHash {
    size_t operator()(const Digest& digest) const;
  };

  std::vector<Block> blocks_;
  std::vector<BlockId> free_;
  std::list<BlockId> cached_;  // least recently released first
  absl::flat_hash_map<Digest, BlockId, DigestHash> published_;
};

}  // namespace tessera
