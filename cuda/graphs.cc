#include "cuda/graphs.h"

namespace tessera {

Graphs::~Graphs() { gpu::Synchronize(stream_); }

std::vector<Tensor> Graphs::Run(const std::string& key, const Work& work) {
  const bool seen = places_.contains(key);
  Entry& entry = Find(key);
  if (!seen) return work();
  // Where the arena grew meanwhile, it is another one now, maybe at the same address.
  const bool fits = entry.graph != nullptr && entry.begin == arena_.position() &&
                    entry.begin.chunk == entry.end.chunk;
  if (fits) {
    arena_.AdvanceTo(entry.end);
  } else {
    Record(work, entry);
  }
  gpu::Replay(entry.graph.get(), stream_);
  return entry.results;
}

Graphs::Entry& Graphs::Find(const std::string& key) {
  if (const auto found = places_.find(key); found != places_.end()) {
    entries_.splice(entries_.begin(), entries_, found->second);
    return entries_.front();
  }
  if (entries_.size() == kKept) {
    gpu::Synchronize(stream_);
    places_.erase(entries_.back().key);
    entries_.pop_back();
  }
  entries_.emplace_front().key = key;
  places_[key] = entries_.begin();
  return entries_.front();
}

void Graphs::Record(const Work& work, Entry& entry) {
  if (entry.graph != nullptr) gpu::Synchronize(stream_);
  entry.begin = arena_.position();
  staging_.Close();
  gpu::BeginRecording(stream_);
  entry.results = work();
  entry.graph.reset(gpu::EndRecording(stream_));
  staging_.Open();
  entry.end = arena_.position();
}

}  // namespace tessera
