// The state of one accepted request, from its prepared prompt to its last token. Plain data: the
// scheduler moves it, the engine thread owns it.
#pragma once

#include <memory>
#include <vector>

#include "engine/api/request.h"
#include "engine/prompt/prepared_prompt.h"
#include "engine/schedule/block_pool.h"

namespace tessera {

constexpr int32_t kDrawnToken = -2;

enum class SequenceState : uint8_t {
  kWaiting,  // holds no blocks
  kRunning,  // takes part in steps
  kFinished,
};

struct Sequence {
  Ticket ticket = 0;  // of the request that it belongs to
  PreparedPrompt prompt;
  // begins the chain of block hashes: cache salt and whatever else keys the KV's contents
  Digest salt = {};
  // the answer's keys and values are not those that its tokens would have in a prompt
  bool answer_apart = false;

  // Rows of the prompt, then the answer. An image row holds kImagePlaceholder.
  std::vector<int32_t> tokens;
  // How many of the last tokens are sampled but not known yet: they are kDrawnToken.
  int32_t unknown = 0;
  int32_t sampled_place = 0;  // of the last one of them, among the tokens sampled in its step
  int32_t max_rows = 0;       // tokens.size() never grows beyond: prompt and the longest answer

  // Rows [0, computed) have keys and values in `blocks`; computed < tokens.size() while running.
  int32_t computed = 0;
  std::vector<BlockId> blocks;
  std::vector<Digest> hashes;  // of the leading full blocks of `tokens`, as far as known
  int32_t published = 0;       // leading blocks given to the pool's index

  // Images whose encoded rows are at hand. The scheduler plans image rows only of ready ones.
  std::vector<bool> image_ready;

  SequenceState state = SequenceState::kWaiting;
  int32_t cached_rows = 0;  // taken from the prefix cache at the first admission
  bool was_admitted = false;
  int32_t preemptions = 0;

  int32_t prompt_rows() const { return static_cast<int32_t>(prompt.rows.size()); }
  int32_t known_rows() const { return static_cast<int32_t>(tokens.size()) - unknown; }
  int32_t generated() const { return known_rows() - prompt_rows(); }
  int32_t remaining() const { return static_cast<int32_t>(tokens.size()) - computed; }
  bool decoding() const { return generated() + unknown > 0 && remaining() == 1; }
  // No token may follow the last one.
  bool full() const { return static_cast<int32_t>(tokens.size()) >= max_rows; }
};

}  // namespace tessera
