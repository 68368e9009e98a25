// Whose turn it is among those who share workers: who has asked for least so far, the turn that is
// waited for included (least attained service), so that small requests are not behind large ones.
// Later arrivals begin a little behind: a turn waits for at most kPatience times its own work of
// such as came after it. One thread at a time. Tests: tests/engine/prepare/fair_queue_test.cc.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

namespace tessera {

// What somebody has asked for who takes several turns, one after the other.
struct FairShare {
  int64_t work = 0;  // of all turns, and the queue's clock when it came
};

template <typename Item>
class FairQueue {
 public:
  static constexpr int64_t kPatience = 16;

  // The next turn of who has `share`; its earlier ones are over.
  void Push(Item item, int64_t work, FairShare& share) {
    share.work = std::max(served_ / kPatience, share.work) + work;
    turns_.emplace(std::pair(share.work, arrivals_++), Turn{std::move(item), work});
  }
  bool empty() const { return turns_.empty(); }
  // The next one; of equal ones the first that came. REQUIRES: !empty().
  const Item& First() const { return turns_.begin()->second.item; }
  Item Pop() {
    auto turn = turns_.extract(turns_.begin());
    served_ += turn.mapped().work;
    return std::move(turn.mapped().item);
  }
  void Remove(const Item& item) {
    std::erase_if(turns_, [&](const auto& turn) { return turn.second.item == item; });
  }
  void Clear() { turns_.clear(); }

 private:
  struct Turn {
    Item item;
    int64_t work = 0;
  };

  int64_t served_ = 0;  // work of all turns taken; 2^63 ns are centuries
  uint64_t arrivals_ = 0;
  std::map<std::pair<int64_t, uint64_t>, Turn> turns_;  // by share, then arrival
};

}  // namespace tessera
