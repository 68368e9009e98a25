#include "engine/prepare/fair_queue.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tessera {
namespace {

// Each has its turns queued one after the other; the order in which all are taken.
struct Client {
  char name;
  std::vector<int64_t> work;  // of its turns
  size_t arrives = 0;         // after that many turns of others
};

std::string Order(const std::vector<Client>& clients) {
  FairQueue<const Client*> queue;
  std::vector<FairShare> shares(clients.size());
  std::vector<size_t> next(clients.size());
  std::string order;
  const auto push = [&](size_t i) {
    if (next[i] < clients[i].work.size()) {
      queue.Push(&clients[i], clients[i].work[next[i]++], shares[i]);
    }
  };
  const auto arrive = [&] {
    for (size_t i = 0; i < clients.size(); ++i) {
      if (clients[i].arrives == order.size() && next[i] == 0) push(i);
    }
  };
  for (arrive(); !queue.empty(); arrive()) {
    const Client* taken = queue.Pop();
    order += taken->name;
    push(static_cast<size_t>(taken - clients.data()));
  }
  return order;
}

TEST(FairQueueTest, WhoAsksForLittleIsNotBehindWhoAsksForMuch) {
  const struct {
    const char* what;
    std::vector<Client> clients;
    std::string order;
  } cases[] = {
      {"equal turns alternate", {{'a', {5, 5, 5}}, {'b', {5, 5, 5}}}, "ababab"},
      {"of one turn each, the first that came", {{'a', {5}}, {'b', {5}}, {'c', {5}}}, "abc"},
      {"many small turns pass a long one as long as they sum up to less",
       {{'a', {10}}, {'b', {3, 3, 3, 3, 3}}},
       "bbbabb"},
      {"a newcomer waits for the turn under way alone",
       {{'a', {9, 9, 9, 9, 9, 9}}, {'b', {1}, 2}},
       "aabaaaa"},
      {"also behind many heavy ones",
       {{'a', {9, 9}}, {'b', {9, 9}}, {'c', {9, 9}}, {'d', {1}, 1}},
       "adbcabc"},
      {"who comes later catches up", {{'a', {5, 5, 5, 5, 5, 5}}, {'b', {5, 5, 5}, 3}}, "aaabbbaaa"},
  };
  for (const auto& test : cases) EXPECT_EQ(Order(test.clients), test.order) << test.what;
}

TEST(FairQueueTest, EverNewSmallTurnsPutALongOneOffForABoundedTime) {
  constexpr int kLong = 10;
  FairQueue<int> queue;
  FairShare large;
  queue.Push(0, kLong, large);
  int before = 0;
  for (int small = 1;; ++small) {
    FairShare newcomer;
    queue.Push(small, 1, newcomer);
    if (queue.Pop() == 0) break;
    ++before;
  }
  EXPECT_GE(before, kLong);
  EXPECT_LE(before, kLong * FairQueue<int>::kPatience);
}

TEST(FairQueueTest, WhatIsRemovedHasNoTurn) {
  FairQueue<int> queue;
  FairShare share;
  for (int i = 0; i < 4; ++i) queue.Push(i, 1, share);
  queue.Remove(0);
  queue.Remove(2);
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.Pop(), 3);
  EXPECT_TRUE(queue.empty());
  queue.Push(7, 1, share);
  queue.Clear();
  EXPECT_TRUE(queue.empty());
}

}  // namespace
}  // namespace tessera
