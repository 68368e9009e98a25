#include "engine/input/byte_pair.h"

#include <algorithm>
#include <functional>

#include "absl/strings/string_view.h"

namespace tessera {
namespace {

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// One token of a word being merged, in a list linked by indices. A symbol that was merged into its
// left neighbour keeps its place with rank kNoRank.
struct Symbol {
  int32_t id;
  int32_t previous, next;  // -1: none
  uint32_t rank;           // of merging with the next one
};

}  // namespace

void MergeTable::Add(int32_t left, int32_t right, int32_t merged) {
  AddAtRank(static_cast<uint32_t>(merged_.size()), left, right, merged);
}

void MergeTable::AddAtRank(uint32_t rank, int32_t left, int32_t right, int32_t merged) {
  ranks_.insert_or_assign(PairKey(left, right), rank);
  if (rank >= merged_.size()) merged_.resize(static_cast<size_t>(rank) + 1);
  merged_[rank] = merged;
}

uint32_t MergeTable::Rank(int32_t left, int32_t right) const {
  const auto found = ranks_.find(PairKey(left, right));
  return found == ranks_.end() ? kNoRank : found->second;
}

struct BytePairSegmenter::Scratch {
  std::vector<Symbol> symbols;
  std::vector<uint64_t>
      queue;  // a heap of rank << 32 | position, the lowest first; holds stale entries
};

void BytePairSegmenter::Segment(std::string_view text, std::vector<int32_t>* ids) const {
  Scratch scratch;
  for (const std::string_view word : splitter_.Split(text)) {
    if (word.size() == 1) {
      ids->push_back(byte_ids_[static_cast<uint8_t>(word[0])]);
    } else if (const auto whole = whole_words_.find(absl::string_view(word.data(), word.size()));
               whole != whole_words_.end()) {
      ids->push_back(whole->second);
    } else {
      MergeWord(word, &scratch, ids);
    }
  }
}

// Takes the pair of the lowest rank, the leftmost of them, until no pair merges. A queue entry is
// stale when its symbol's rank has changed since; an equal rank is the same merge.
void BytePairSegmenter::MergeWord(std::string_view word, Scratch* scratch,
                                  std::vector<int32_t>* ids) const {
  std::vector<Symbol>& symbols = scratch->symbols;
  std::vector<uint64_t>& queue = scratch->queue;
  const auto size = static_cast<int32_t>(word.size());
  symbols.resize(word.size());
  queue.clear();
  for (int32_t i = 0; i < size; ++i) {
    symbols[i] = {byte_ids_[static_cast<uint8_t>(word[i])], i - 1, i + 1 < size ? i + 1 : -1,
                  MergeTable::kNoRank};
  }
  const auto update_rank = [&](int32_t at) {
    Symbol& symbol = symbols[at];
    symbol.rank =
        symbol.next < 0 ? MergeTable::kNoRank : merges_.Rank(symbol.id, symbols[symbol.next].id);
    if (symbol.rank == MergeTable::kNoRank) return false;
    queue.push_back(static_cast<uint64_t>(symbol.rank) << 32 | static_cast<uint32_t>(at));
    return true;
  };
  for (int32_t i = 0; i < size; ++i) update_rank(i);
  std::make_heap(queue.begin(), queue.end(), std::greater<>());
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    const auto at = static_cast<int32_t>(queue.back() & UINT32_MAX);
    const auto rank = static_cast<uint32_t>(queue.back() >> 32);
    queue.pop_back();
    Symbol& left = symbols[at];
    if (left.rank != rank) continue;
    Symbol& right = symbols[left.next];
    left.id = merges_.Merged(rank);
    left.next = right.next;
    right.rank = MergeTable::kNoRank;
    if (left.next >= 0) symbols[left.next].previous = at;
    if (update_rank(at)) std::push_heap(queue.begin(), queue.end(), std::greater<>());
    if (left.previous >= 0 && update_rank(left.previous)) {
      std::push_heap(queue.begin(), queue.end(), std::greater<>());
    }
  }
  for (int32_t at = 0; at >= 0; at = symbols[at].next) ids->push_back(symbols[at].id);
}

}  // namespace tessera
