#include "engine/cpu/aligned_memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

namespace tessera {
namespace {

TEST(ArenaTest, AlignsAndDoesNotOverlap) {
  Arena arena;
  std::vector<std::pair<char*, size_t>> parts;
  for (size_t bytes : {1, 63, 64, 65, 0, 3000000, 5}) {
    auto* data = static_cast<char*>(arena.Allocate(bytes));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % Arena::kAlignment, 0u);
    std::memset(data, static_cast<int>(parts.size()), bytes);
    parts.emplace_back(data, bytes);
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    for (size_t j = 0; j < parts[i].second; ++j) {
      ASSERT_EQ(parts[i].first[j], static_cast<char>(i));
    }
  }
}

TEST(ArenaTest, ResetMergesChunksAndThenAllocatesNothing) {
  Arena arena;
  for (int i = 0; i < 5; ++i) arena.Allocate(1 << 20);
  EXPECT_GT(arena.chunks(), 1u);
  const size_t used = arena.used_bytes();
  arena.Reset();
  EXPECT_EQ(arena.chunks(), 1u);
  EXPECT_EQ(arena.used_bytes(), 0u);
  const size_t capacity = arena.capacity_bytes();
  EXPECT_GE(capacity, used);
  void* first = arena.Allocate(64);
  for (int i = 1; i < 5; ++i) arena.Allocate((1 << 20) - 64);
  EXPECT_EQ(arena.chunks(), 1u);
  arena.Reset();
  EXPECT_EQ(arena.Allocate(64), first);
  EXPECT_EQ(arena.capacity_bytes(), capacity);
}

TEST(AlignedMemoryTest, RefusesMoreThanThereIs) {
  EXPECT_EQ(AlignedMemory::Allocate(size_t{1} << 50).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(AlignedMemory::Allocate(~size_t{0}).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace tessera
