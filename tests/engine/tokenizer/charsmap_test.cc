#include "engine/tokenizer/charsmap.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace tessera {
namespace {

// A unit of the double array (charsmap.h).
uint32_t Unit(uint32_t offset, char label, bool has_leaf) {
  return offset << 10 | static_cast<uint32_t>(has_leaf) << 8 | static_cast<uint8_t>(label);
}

constexpr uint32_t kBase = 256;

// "a" -> "x", "ab" -> "yy".
std::vector<uint32_t> SmallTrie() {
  std::vector<uint32_t> units(1024, 1u << 31);  // no label
  const uint32_t a = kBase ^ 'a', leaf = 512, ab = leaf ^ 'b', leaf_of_ab = 700;
  units[0] = Unit(kBase, '\0', false);
  units[a] = Unit(a ^ leaf, 'a', true);
  units[leaf] = 1u << 31 | 0;
  units[ab] = Unit(ab ^ leaf_of_ab, 'b', true);
  units[leaf_of_ab] = 1u << 31 | 2;
  return units;
}

std::string Blob(const std::vector<uint32_t>& units, std::string_view replacements) {
  std::string blob;
  const auto append = [&](uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) blob.push_back(static_cast<char>(value >> shift));
  };
  append(static_cast<uint32_t>(units.size() * 4));
  for (const uint32_t unit : units) append(unit);
  return blob.append(replacements);
}

constexpr std::string_view kReplacements("x\0yy\0", 5);

TEST(CharsmapTest, FindsTheLongestString) {
  const auto map = Charsmap::Parse(Blob(SmallTrie(), kReplacements));
  ASSERT_TRUE(map.ok()) << map.status();
  const struct {
    std::string text;
    size_t length;
    std::string replacement;
  } cases[] = {{"a", 1, "x"}, {"ac", 1, "x"}, {"abc", 2, "yy"},
               {"b", 0, ""},  {"", 0, ""},    {std::string("\0a", 2), 0, ""}};
  for (const auto& test : cases) {
    const Charsmap::Match match = map->Longest(test.text);
    EXPECT_EQ(match.length, test.length) << test.text;
    EXPECT_EQ(match.replacement, test.replacement) << test.text;
  }
  EXPECT_EQ(Charsmap().Longest("a").length, 0u);
}

TEST(CharsmapTest, BrokenTablesAreRefused) {
  std::vector<uint32_t> cycle = SmallTrie();
  cycle[kBase ^ 'a'] = Unit(kBase ^ 'a' ^ kBase, 'a', false);  // "a" leads to where "a" is found
  std::vector<uint32_t> leaf_outside = SmallTrie();
  leaf_outside[kBase ^ 'a'] = Unit(5000, 'a', true);
  std::vector<uint32_t> value_outside = SmallTrie();
  value_outside[512] = 1u << 31 | 5;
  const std::string good = Blob(SmallTrie(), kReplacements);
  const struct {
    std::string blob;
    std::string message;
  } cases[] = {
      {"abc", "a trie of 0 bytes"},
      {good.substr(0, 100), "a trie of 4096 bytes does not fit into 100 bytes"},
      {Blob(cycle, kReplacements), "leads back to itself"},
      {Blob(leaf_outside, kReplacements), "its leaf"},
      {Blob(value_outside, kReplacements), "a replacement at 5"},
      {Blob(SmallTrie(), "x"), "a replacement at 0"},
      {Blob(SmallTrie(), std::string_view("\xFF\0yy\0", 5)), "not valid UTF-8"},
  };
  for (const auto& test : cases) {
    const absl::Status status = Charsmap::Parse(test.blob).status();
    EXPECT_NE(StatusMessage(status).find(test.message), std::string_view::npos)
        << test.message << " / " << status;
  }
}

TEST(CharsmapTest, WhatIsAcceptedStaysInside) {
  std::mt19937 random(5);
  int accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint32_t> units = SmallTrie();
    for (int i = 0; i < 4; ++i) units[random() % units.size()] = random();
    const auto map = Charsmap::Parse(Blob(units, kReplacements));
    if (!map.ok()) continue;
    ++accepted;
    for (int byte = 0; byte < 256; ++byte) (void)map->Longest(std::string(300, char(byte)) + "ab");
  }
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace tessera
