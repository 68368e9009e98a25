// An OutputSink that keeps everything, and lets a test wait for the end.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/api/request.h"

namespace tessera::testing {

class CollectingSink final : public OutputSink {
 public:
  void OnAdmitted(const PromptInfo& prompt) override {
    const std::lock_guard lock(mutex_);
    prompt_ = prompt;
    ++admissions_;
  }
  void OnChunk(Chunk chunk) override {
    const std::lock_guard lock(mutex_);
    text_ += chunk.text;
    token_ids_.insert(token_ids_.end(), chunk.token_ids.begin(), chunk.token_ids.end());
    chunks_.push_back(std::move(chunk));
    changed_.notify_all();
  }
  void OnFinish(const Completion& completion) override {
    const std::lock_guard lock(mutex_);
    completion_ = completion;
    ++finishes_;
    changed_.notify_all();
  }

  // Until OnFinish.
  void Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return finishes_ > 0; });
  }
  // Until that many chunks came, or the end.
  void WaitForChunks(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return finishes_ > 0 || chunks_.size() >= count; });
  }

  std::string text() const { return Get(text_); }
  std::vector<int32_t> token_ids() const { return Get(token_ids_); }
  std::vector<Chunk> chunks() const { return Get(chunks_); }
  // Every token with its log-probability, where those were asked for.
  std::vector<std::pair<int32_t, float>> token_logprobs() const {
    std::vector<std::pair<int32_t, float>> tokens;
    for (const Chunk& chunk : chunks()) {
      for (const TokenLogprob& token : chunk.logprobs) tokens.emplace_back(token.id, token.logprob);
    }
    return tokens;
  }
  Completion completion() const { return Get(completion_); }
  PromptInfo prompt() const { return Get(prompt_); }
  int finishes() const { return Get(finishes_); }
  int admissions() const { return Get(admissions_); }

 private:
  template <typename T>
  T Get(const T& value) const {
    const std::lock_guard lock(mutex_);
    return value;
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  PromptInfo prompt_;
  std::string text_;
  std::vector<int32_t> token_ids_;
  std::vector<Chunk> chunks_;
  Completion completion_;
  int finishes_ = 0;
  int admissions_ = 0;
};

}  // namespace tessera::testing
