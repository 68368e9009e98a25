#include "tests/testing/phi_engine.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "engine/cpu/make_cpu_backend.h"
#include "tests/testing/data_path.h"

namespace tessera::testing {

std::string ReadImage(const std::string& name) {
  std::ifstream file(DataPath("golden/models/moe_llava_phi/images") / name, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  EXPECT_FALSE(bytes.str().empty()) << name;
  return bytes.str();
}

Request Ask(const std::string& text, const std::string& image, int32_t max_tokens) {
  Request request;
  Message message;
  if (!image.empty()) message.parts.emplace_back(EncodedImage{ReadImage(image), ""});
  message.parts.emplace_back("\n" + text);
  request.input = std::vector<Message>{message};
  request.sampling.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  return request;
}

std::unique_ptr<Engine> StartPhi(std::unique_ptr<Backend> backend, const EngineOptions& options,
                                 RouterMode router) {
  ModelOptions model;
  model.model_dir = DataPath("golden/models/moe_llava_phi/model");
  model.vision_tower_dir = DataPath("golden/models/moe_llava_phi/vision_tower");
  model.router = router;
  auto engine = StartEngine(std::move(backend), model, options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return *std::move(engine);
}

std::unique_ptr<Engine> StartPhi(const EngineOptions& options, RouterMode router, DType dtype) {
  CpuOptions cpu;
  cpu.dtype = dtype;
  auto backend = MakeCpuBackend(cpu);
  EXPECT_TRUE(backend.ok());
  return StartPhi(*std::move(backend), options, router);
}

std::shared_ptr<CollectingSink> Submit(Engine& engine, const Request& request, Ticket* ticket) {
  auto sink = std::make_shared<CollectingSink>();
  const auto accepted = engine.Submit(request, sink);
  EXPECT_TRUE(accepted.ok()) << accepted.status();
  if (accepted.ok() && ticket != nullptr) *ticket = *accepted;
  return sink;
}

std::vector<int32_t> RunAlone(Engine& engine, const Request& request) {
  const auto sink = Submit(engine, request);
  sink->Wait();
  EXPECT_TRUE(sink->completion().status.ok()) << sink->completion().status;
  return sink->token_ids();
}

std::vector<std::vector<int32_t>> RunTogether(Engine& engine,
                                              const std::vector<Request>& requests) {
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (const Request& request : requests) sinks.push_back(Submit(engine, request));
  std::vector<std::vector<int32_t>> answers;
  for (const auto& sink : sinks) {
    sink->Wait();
    EXPECT_TRUE(sink->completion().status.ok()) << sink->completion().status;
    EXPECT_EQ(sink->finishes(), 1);
    answers.push_back(sink->token_ids());
  }
  return answers;
}

void ExpectIdle(Engine& engine) {
  EngineStats stats;
  for (int i = 0; i < 200; ++i) {
    stats = engine.Stats();
    if (stats.running == 0 && stats.waiting == 0 && stats.kv_blocks_used == 0 &&
        stats.inflight_bytes == 0) {
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.waiting, 0);
  EXPECT_EQ(stats.kv_blocks_used, 0);
  EXPECT_EQ(stats.inflight_bytes, 0);
}

}  // namespace tessera::testing
