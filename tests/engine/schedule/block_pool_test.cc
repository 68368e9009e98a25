#include "engine/schedule/block_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace tessera {
namespace {

Digest Hash(int content) { return Sha256(std::to_string(content)); }

TEST(BlockPoolTest, GivesEveryBlockOnceThenNone) {
  BlockPool pool(3);
  std::set<BlockId> given;
  for (int i = 0; i < 3; ++i) given.insert(pool.Allocate().value());
  EXPECT_EQ(given, (std::set<BlockId>{0, 1, 2}));
  EXPECT_FALSE(pool.Allocate().has_value());
  EXPECT_EQ(pool.used(), 3);
  pool.Release(1);
  EXPECT_EQ(pool.Allocate(), 1);
}

TEST(BlockPoolTest, AnEmptyPoolGivesNothing) {
  BlockPool pool(0);
  EXPECT_FALSE(pool.Allocate().has_value());
  EXPECT_FALSE(pool.Take(Hash(1)).has_value());
  EXPECT_EQ(pool.total(), 0);
}

TEST(BlockPoolTest, GivesUpTheLongestUnusedContents) {
  BlockPool pool(3);
  for (int content = 0; content < 3; ++content)
    pool.Publish(pool.Allocate().value(), Hash(content));
  for (const BlockId block : {1, 0, 2}) pool.Release(block);
  EXPECT_EQ(pool.cached(), 3);
  EXPECT_EQ(pool.used(), 0);
  pool.Release(pool.Take(Hash(1)).value());  // used again: now the youngest
  EXPECT_EQ(pool.Allocate(), 0);
  EXPECT_FALSE(pool.Take(Hash(0)).has_value());
  EXPECT_EQ(pool.Allocate(), 2);
  EXPECT_EQ(pool.Allocate(), 1);
  EXPECT_FALSE(pool.Allocate().has_value());
}

TEST(BlockPoolTest, FreeBlocksGoBeforeCachedOnes) {
  BlockPool pool(2);
  const BlockId kept = pool.Allocate().value();
  const BlockId plain = pool.Allocate().value();
  pool.Publish(kept, Hash(7));
  pool.Release(kept);
  pool.Release(plain);
  EXPECT_EQ(pool.Allocate(), plain);
  EXPECT_EQ(pool.Take(Hash(7)), kept);
}

TEST(BlockPoolTest, WritingSharedOrPublishedContentsNeedsACopy) {
  BlockPool pool(2);
  const BlockId block = pool.Allocate().value();
  EXPECT_FALSE(pool.MustCopy(block));
  pool.Publish(block, Hash(1));
  EXPECT_TRUE(pool.MustCopy(block));
  EXPECT_EQ(pool.Take(Hash(1)), block);
  pool.Release(block);
  EXPECT_TRUE(pool.MustCopy(block)) << "still published";
}

TEST(BlockPoolTest, EqualContentsAreFoundInTheBlockThatWasFirst) {
  BlockPool pool(2);
  const BlockId first = pool.Allocate().value();
  const BlockId second = pool.Allocate().value();
  pool.Publish(first, Hash(1));
  pool.Publish(second, Hash(1));
  EXPECT_FALSE(pool.MustCopy(second)) << "not published: another one's contents answer";
  pool.Release(second);
  EXPECT_EQ(pool.cached(), 0);
  EXPECT_EQ(pool.Take(Hash(1)), first);
}

TEST(BlockPoolDeathTest, ReleasingWhatNobodyHoldsIsABug) {
  BlockPool pool(1);
  pool.Publish(pool.Allocate().value(), Hash(1));
  pool.Release(0);
  EXPECT_DEATH(pool.Release(0), "holders");
  EXPECT_DEATH(pool.Publish(0, Hash(2)), "holders");
}

// The pool as one would write it without caring for speed.
class PlainPool {
 public:
  explicit PlainPool(int blocks) : blocks_(static_cast<size_t>(blocks)) {}

  // The block that must be given up, or -1 when any free one may be given; nothing when all are
  // used.
  std::optional<int> Victim() const {
    int oldest = -1;
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const Block& block = blocks_[i];
      if (block.holders > 0) continue;
      if (block.content < 0) return -1;
      if (oldest < 0 || block.released < blocks_[static_cast<size_t>(oldest)].released) {
        oldest = static_cast<int>(i);
      }
    }
    return oldest < 0 ? std::nullopt : std::optional<int>(oldest);
  }
  bool IsFree(BlockId id) const { return At(id).holders == 0 && At(id).content < 0; }
  void Allocated(BlockId id) { At(id) = {1, -1, 0}; }
  std::optional<BlockId> Find(int content) const {
    for (size_t i = 0; i < blocks_.size(); ++i) {
      if (blocks_[i].content == content) return static_cast<BlockId>(i);
    }
    return std::nullopt;
  }
  void Taken(BlockId id) { ++At(id).holders; }
  void Released(BlockId id) {
    --At(id).holders;
    At(id).released = ++clock_;
  }
  void Published(BlockId id, int content) {
    if (At(id).content < 0 && !Find(content)) At(id).content = content;
  }
  bool MustCopy(BlockId id) const { return At(id).holders > 1 || At(id).content >= 0; }
  int Count(bool used, bool with_content) const {
    return static_cast<int>(std::count_if(blocks_.begin(), blocks_.end(), [&](const Block& block) {
      return (block.holders > 0) == used && (used || (block.content >= 0) == with_content);
    }));
  }

 private:
  struct Block {
    int holders = 0;
    int content = -1;
    int64_t released = 0;
  };
  Block& At(BlockId id) { return blocks_[static_cast<size_t>(id)]; }
  const Block& At(BlockId id) const { return blocks_[static_cast<size_t>(id)]; }

  std::vector<Block> blocks_;
  int64_t clock_ = 0;
};

void ExpectSame(const BlockPool& pool, const PlainPool& plain) {
  const int used = plain.Count(true, false);
  const int cached = plain.Count(false, true);
  const int free = plain.Count(false, false);
  ASSERT_EQ(used + cached + free, pool.total());
  ASSERT_EQ(pool.used(), used);
  ASSERT_EQ(pool.cached(), cached);
  ASSERT_EQ(pool.available(), free + cached);
}

// One random call on both; `held` lists each holding of each block.
void Act(std::mt19937& random, BlockPool& pool, PlainPool& plain, std::vector<BlockId>& held) {
  const int content = static_cast<int>(random() % 24);
  const size_t pick = held.empty() ? 0 : random() % held.size();
  switch (random() % 5) {
    case 0:
    case 1: {
      const std::optional<int> victim = plain.Victim();
      const std::optional<BlockId> block = pool.Allocate();
      ASSERT_EQ(block.has_value(), victim.has_value());
      if (!block) return;
      ASSERT_TRUE(*victim >= 0 ? *block == *victim : plain.IsFree(*block));
      plain.Allocated(*block);
      held.push_back(*block);
      ASSERT_FALSE(pool.MustCopy(*block));
      return;
    }
    case 2: {
      const std::optional<BlockId> block = pool.Take(Hash(content));
      ASSERT_EQ(block, plain.Find(content));
      if (!block) return;
      plain.Taken(*block);
      held.push_back(*block);
      return;
    }
    case 3:
      if (held.empty()) return;
      pool.Release(held[pick]);
      plain.Released(held[pick]);
      held.erase(held.begin() + static_cast<int64_t>(pick));
      return;
    default:
      if (held.empty()) return;
      pool.Publish(held[pick], Hash(content));
      plain.Published(held[pick], content);
  }
}

TEST(BlockPoolTest, AgreesWithAPlainOneOverRandomCalls) {
  for (const uint32_t seed : {1u, 2u, 3u}) {
    std::mt19937 random(seed);
    BlockPool pool(12);
    PlainPool plain(12);
    std::vector<BlockId> held;
    for (int step = 0; step < 4000; ++step) {
      ASSERT_NO_FATAL_FAILURE(Act(random, pool, plain, held)) << "step " << step;
      ASSERT_NO_FATAL_FAILURE(ExpectSame(pool, plain)) << "step " << step;
      for (const BlockId block : held) ASSERT_EQ(pool.MustCopy(block), plain.MustCopy(block));
    }
    while (!held.empty()) {
      pool.Release(held.back());
      held.pop_back();
    }
    EXPECT_EQ(pool.used(), 0);
  }
}

}  // namespace
}  // namespace tessera
