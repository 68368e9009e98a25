// Byte-pair encoding over bytes (Sennrich et al. 2016, "Neural Machine Translation of Rare Words
// with Subword Units"; bytes as the first symbols: Radford et al. 2019).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/tokenizer/pretokenizer.h"
#include "engine/tokenizer/segmenter.h"

namespace tessera {

struct Merge {
  static constexpr uint32_t kNoRank = UINT32_MAX;

  uint32_t rank = kNoRank;  // kNoRank: the two never merge
  int32_t merged = -1;
};

// One token of a word being merged, in a list linked by indices. A symbol that was merged into its
// left neighbour keeps its place.
struct Symbol {
  int32_t id;
  uint32_t begin;          // of its text, in bytes
  int32_t previous, next;  // -1: none
  Merge merge;             // with the next one
};

// The merges of a vocabulary: which neighbours become one token, the lowest rank first, and of
// equal ranks the leftmost. Immutable once filled.
class MergeTable {
 public:
  // The next merge, one rank after the last one. A pair that was added before takes the later rank.
  void Add(int32_t left, int32_t right, int32_t merged);

  // A merge at a given rank; several may share one.
  void AddAtRank(uint32_t rank, int32_t left, int32_t right, int32_t merged);

  Merge Find(int32_t left, int32_t right) const;

  // Merges the symbols of one word, whose ids and begins are filled in, until no pair merges. What
  // remains is linked from symbol 0 on. `queue` is scratch. O(n log n).
  void Apply(std::vector<Symbol>* symbols, std::vector<uint64_t>* queue) const;

 private:
  absl::flat_hash_map<uint64_t, Merge> merges_;
  uint32_t next_rank_ = 0;
};

// Cuts text into words, then merges each word's bytes.
class BytePairSegmenter : public Segmenter {
 public:
  // `byte_ids`: the token of each single byte. `whole_words`: words that are one token without
  // regard to merges (tiktoken's ranks, tokenizer.json with ignore_merges).
  BytePairSegmenter(PreTokenizer splitter, std::array<int32_t, 256> byte_ids, MergeTable merges,
                    absl::flat_hash_map<std::string, int32_t> whole_words)
      : splitter_(std::move(splitter)),
        byte_ids_(byte_ids),
        merges_(std::move(merges)),
        whole_words_(std::move(whole_words)) {}

  // O(n log n) in the longest word.
  void Segment(const TextPart& part, std::vector<int32_t>* ids) const override;

 private:
  struct Scratch;

  void MergeWord(std::string_view word, Scratch* scratch, std::vector<int32_t>* ids) const;

  PreTokenizer splitter_;
  std::array<int32_t, 256> byte_ids_;
  MergeTable merges_;
  absl::flat_hash_map<std::string, int32_t> whole_words_;
};

}  // namespace tessera
