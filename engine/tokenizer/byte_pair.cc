#include "engine/tokenizer/byte_pair.h"

#include <algorithm>
#include <functional>

#include "absl/strings/string_view.h"

namespace tessera {
namespace {

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

void MergeTable::Add(int32_t left, int32_t right, int32_t merged) {
  AddAtRank(next_rank_, left, right, merged);
}

void MergeTable::AddAtRank(uint32_t rank, int32_t left, int32_t right, int32_t merged) {
  merges_.insert_or_assign(PairKey(left, right), Merge{rank, merged});
  next_rank_ = std::max(next_rank_, rank + 1);
}

Merge MergeTable::Find(int32_t left, int32_t right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? Merge() : found->second;
}

// The queue is a heap of rank << 32 | position, the lowest first. An entry is stale when its
// symbol's merge has changed since to one of another rank; at an equal rank it is that one's turn.
void MergeTable::Apply(std::vector<Symbol>* word, std::vector<uint64_t>* queue) const {
  std::vector<Symbol>& symbols = *word;
  const auto size = static_cast<int32_t>(symbols.size());
  const auto update = [&](int32_t at) {
    Symbol& symbol = symbols[at];
    symbol.merge = symbol.next < 0 ? Merge() : Find(symbol.id, symbols[symbol.next].id);
    if (symbol.merge.rank == Merge::kNoRank) return false;
    queue->push_back(static_cast<uint64_t>(symbol.merge.rank) << 32 | static_cast<uint32_t>(at));
    return true;
  };
  const auto push = [&](int32_t at) {
    if (update(at)) std::push_heap(queue->begin(), queue->end(), std::greater<>());
  };
  queue->clear();
  for (int32_t i = 0; i < size; ++i) {
    symbols[i].previous = i - 1;
    symbols[i].next = i + 1 < size ? i + 1 : -1;
  }
  for (int32_t i = 0; i < size; ++i) update(i);
  std::make_heap(queue->begin(), queue->end(), std::greater<>());
  while (!queue->empty()) {
    std::pop_heap(queue->begin(), queue->end(), std::greater<>());
    const auto at = static_cast<int32_t>(queue->back() & UINT32_MAX);
    const auto rank = static_cast<uint32_t>(queue->back() >> 32);
    queue->pop_back();
    Symbol& left = symbols[at];
    if (left.merge.rank != rank) continue;
    Symbol& right = symbols[left.next];
    left.id = left.merge.merged;
    left.next = right.next;
    right.merge = Merge();
    if (left.next >= 0) symbols[left.next].previous = at;
    push(at);
    if (left.previous >= 0) push(left.previous);
  }
}

struct BytePairSegmenter::Scratch {
  std::vector<Symbol> symbols;
  std::vector<uint64_t> queue;
};

void BytePairSegmenter::Segment(const TextPart& part, std::vector<int32_t>* ids) const {
  Scratch scratch;
  for (const std::string_view word : splitter_.Split(part.text)) {
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

void BytePairSegmenter::MergeWord(std::string_view word, Scratch* scratch,
                                  std::vector<int32_t>* ids) const {
  std::vector<Symbol>& symbols = scratch->symbols;
  symbols.resize(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    symbols[i].id = byte_ids_[static_cast<uint8_t>(word[i])];
    symbols[i].begin = static_cast<uint32_t>(i);
  }
  merges_.Apply(&symbols, &scratch->queue);
  for (int32_t at = 0; at >= 0; at = symbols[at].next) ids->push_back(symbols[at].id);
}

}  // namespace tessera
