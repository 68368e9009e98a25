// Repeated work as CUDA graphs: what a piece of work queues is recorded when it comes for the
// second time and afterwards queued with one call. A graph holds addresses, so it serves while the
// arena is filled as it was when it was recorded.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cuda/device_memory.h"
#include "cuda/staging.h"
#include "engine/backend/backend.h"

namespace tessera {

class Graphs final : public GraphCache {
 public:
  static constexpr size_t kKept = 64;  // the ones used last

  Graphs(DeviceArena& arena, Staging& staging, gpu::StreamHandle stream)
      : arena_(arena), staging_(staging), stream_(stream) {}
  ~Graphs() override;

  std::vector<Tensor> Run(const std::string& key, const Work& work) override;

 private:
  struct Free {
    void operator()(gpu::GraphHandle graph) const { gpu::FreeGraph(graph); }
  };
  using Graph = std::unique_ptr<CUgraphExec_st, Free>;
  struct Entry {
    std::string key;
    Graph graph;  // null until the work has come twice
    DeviceArena::Position begin, end;
    std::vector<Tensor> results;
  };

  Entry& Find(const std::string& key);
  void Record(const Work& work, Entry& entry);

  DeviceArena& arena_;
  Staging& staging_;
  const gpu::StreamHandle stream_;
  std::list<Entry> entries_;  // the one used last comes first
  std::unordered_map<std::string, std::list<Entry>::iterator> places_;
};

}  // namespace tessera
