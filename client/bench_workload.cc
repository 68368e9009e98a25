#include "client/bench_workload.h"

#include <array>
#include <cmath>
#include <string_view>

#include "client/prompt.h"

namespace tessera {
namespace {

// Common words, each one token or two in most vocabularies.
constexpr std::array<std::string_view, 48> kWords = {
    "time",  "house", "water", "light",  "river", "stone", "green", "small", "large", "north",
    "south", "table", "paper", "horse",  "cloud", "glass", "music", "night", "field", "tree",
    "bread", "ship",  "road",  "window", "red",   "blue",  "under", "above", "near",  "with",
    "where", "which", "many",  "every",  "first", "last",  "open",  "walk",  "carry", "build",
    "write", "read",  "watch", "turn",   "cold",  "warm",  "old",   "new"};

constexpr int kDefaultMaxTokens = 128;

}  // namespace

PlannedRequest Workload::Next() {
  PlannedRequest planned;
  planned.request = options_.base;
  planned.gap = -std::log1p(-Share());
  const double share = Share();
  const size_t image = static_cast<size_t>(Share() * static_cast<double>(options_.images.size()));
  std::vector<v1::Image> images;
  if (!options_.images.empty() && share < options_.image_share)
    images.push_back(options_.images[image]);
  const std::string text = options_.prompt.empty() ? Words() : options_.prompt;
  *planned.request.mutable_conversation()->add_messages() = UserMessage(images, text);

  const double disturbance = Share();
  const double moment = Share();
  const auto& sampling = options_.base.sampling();
  const int events = sampling.has_max_tokens() ? sampling.max_tokens() : kDefaultMaxTokens;
  if (disturbance < options_.cancel_share) {
    planned.cancel_after_events = static_cast<int>(moment * events);
  } else if (disturbance < options_.cancel_share + options_.deadline_share) {
    planned.deadline = absl::Milliseconds(1) + moment * options_.longest_deadline;
  }
  return planned;
}

std::string Workload::Words() {
  std::string text;
  for (int i = 0; i < options_.prompt_words; ++i) {
    if (i > 0) text += ' ';
    text += kWords[random_() % kWords.size()];
  }
  return text;
}

double Workload::Share() { return static_cast<double>(random_() >> 11) * 0x1p-53; }

}  // namespace tessera
