// Which choices of experts a bounded capacity drops, as DeepSpeed 0.9.5's gates do
// (deepspeed/moe/sharded_moe.py): an expert takes the first choices of all tokens before any second
// choice, each in the order of the tokens, until it is full.
//
// The reference takes the tokens of a batch together, padding included; here the tokens of one
// prompt make up a group, and every token of an answer one of its own, which is the reference at
// batch 1. Its gate for a single choice drops at random; here position decides.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/model/model_spec.h"

namespace tessera {

// Choices that each of `experts` takes of `tokens` computed together.
int64_t CapacityOf(const ExpertCapacity& capacity, int64_t tokens, int64_t experts, int choices);

// What a router decided over T rows.
struct RoutedRows {
  std::span<const float> logits;    // [T, experts]
  std::span<const int32_t> chosen;  // [T, k]
  int64_t experts = 0;
  RouterConfig router;
};

// Takes the weight of dropped choices from `weights` [T, k]; a token's others are renormalised
// where the router does so. Group g is rows [groups[g], groups[g + 1]).
void DropBeyondCapacity(const ExpertCapacity& capacity, const RoutedRows& rows,
                        std::span<const int32_t> groups, std::span<float> weights);

}  // namespace tessera
