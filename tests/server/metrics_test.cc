#include "server/metrics.h"

#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "server/process_metrics.h"
#include "server/rpc_metrics.h"
#include "tests/testing/fake_engine.h"

namespace tessera {
namespace {

std::string Text(std::vector<prometheus::MetricFamily> families) {
  return prometheus::TextSerializer().Serialize(families);
}

void ExpectLine(const std::string& text, const std::string& line) {
  EXPECT_NE(("\n" + text).find("\n" + line + "\n"), std::string::npos) << line << "\nin\n" << text;
}

TEST(EngineMetricsTest, EveryCombinationIsThereFromTheStart) {
  const MemoryBudget memory(1 << 20);
  const testing::FakeEngine engine;
  const std::string text = Text(EngineFamilies(engine.model(), engine.Stats(), memory, 0.5));
  const std::string model = "{model_name=\"fake\"";
  for (const char* name :
       {"requests_running", "requests_waiting", "kv_cache_usage_ratio", "preemptions_total",
        "prefix_cache_queried_tokens_total", "prefix_cache_hit_tokens_total",
        "prompt_tokens_cached_total", "generation_tokens_total", "steps_total",
        "images_encoded_total", "image_cache_bytes", "engine_heartbeat_age_seconds",
        "time_to_first_token_seconds_count", "inter_token_latency_seconds_count",
        "request_duration_seconds_count", "request_prompt_tokens_count",
        "request_generated_tokens_count", "step_rows_count", "step_seconds_count"}) {
    ExpectLine(text, std::string("tessera_") + name + model + "} 0");
  }
  for (const char* outcome :
       {"stop", "length", "cancelled", "deadline", "rejected", "invalid", "aborted", "failed"}) {
    ExpectLine(text, "tessera_requests_total" + model + ",outcome=\"" + outcome + "\"} 0");
  }
  for (const char* stage : {"queue", "preprocess", "encode", "prefill", "decode"}) {
    ExpectLine(text, "tessera_request_stage_seconds_sum" + model + ",stage=\"" + stage + "\"} 0");
    ExpectLine(text, "tessera_requests_ended_total" + model + ",stage=\"" + stage +
                         "\",outcome=\"deadline\"} 0");
  }
  for (const char* reason : {"shape", "tensor_map", "untuned"}) {
    ExpectLine(text, "tessera_kernel_fallbacks_total" + model + ",reason=\"" + reason + "\"} 0");
  }
  ExpectLine(text, "tessera_prompt_tokens_total" + model + ",kind=\"image\"} 0");
  ExpectLine(text, "tessera_image_cache_lookups_total" + model + ",result=\"miss\"} 0");
  ExpectLine(text, "tessera_kv_cache_blocks" + model + ",state=\"free\"} 128");
  ExpectLine(text, "tessera_kv_cache_config_info" + model +
                       ",block_size=\"16\",num_blocks=\"128\",dtype=\"float32\"} 1");
  ExpectLine(text, "tessera_model_load_seconds" + model + "} 0.5");
  ExpectLine(text, "tessera_moe_expert_tokens_total" + model +
                       ",layer=\"1\",expert=\"3\",modality=\"image\"} 0");
  EXPECT_EQ(text.find("layer=\"3\",expert=\"3\""), std::string::npos) << "it has three experts";
  ExpectLine(text, "tessera_moe_layer_experts" + model + ",layer=\"3\"} 3");
  ExpectLine(text, "tessera_moe_layer_tokens_total" + model + ",layer=\"3\",modality=\"text\"} 0");
  ExpectLine(text, "tessera_moe_busiest_expert_tokens_total" + model + ",layer=\"1\"} 0");
}

TEST(EngineMetricsTest, TellsTheStats) {
  const MemoryBudget memory(1 << 20);
  const testing::FakeEngine engine;
  EngineStats stats = engine.Stats();
  stats.running = 3;
  stats.oldest(Standing::kQueued) = 1.5;
  stats.oldest(Standing::kRunning) = 600;
  stats.longest_turn_seconds = 2.5;
  stats.images_decoded = 5;
  stats.kv_blocks_used = 32;
  stats.kv_blocks_cached = 16;
  stats.outcomes[static_cast<size_t>(Outcome::kDeadline)] = 7;
  stats.kernel_fallbacks[static_cast<size_t>(FallbackReason::kUntuned)] = 2;
  stats.expert_tokens[(1 * 4 + 2) * 2 + 0] = 99;  // second layer, third expert, text
  stats.layer_tokens = {1, 2, 3, 4};
  stats.busiest_tokens = {5, 6};
  stats.step_rows.Observe(8);
  stats.step_rows.Observe(9);
  stats.step_rows.Observe(1e9);
  const std::string text = Text(EngineFamilies(engine.model(), stats, memory, 1));
  const std::string model = "{model_name=\"fake\"";
  ExpectLine(text, "tessera_requests_running" + model + "} 3");
  ExpectLine(text, "tessera_kv_cache_usage_ratio" + model + "} 0.25");
  const std::string age = "tessera_oldest_request_age_seconds" + model;
  ExpectLine(text, age + ",standing=\"queued\"} 1.5");
  ExpectLine(text, age + ",standing=\"preparing\"} 0");
  ExpectLine(text, age + ",standing=\"waiting\"} 0");
  ExpectLine(text, age + ",standing=\"running\"} 600");
  ExpectLine(text, "tessera_preparing_turn_age_seconds" + model + "} 2.5");
  ExpectLine(text, "tessera_images_decoded_total" + model + "} 5");
  ExpectLine(text, "tessera_kv_cache_blocks" + model + ",state=\"used\"} 32");
  ExpectLine(text, "tessera_kv_cache_blocks" + model + ",state=\"cached\"} 16");
  ExpectLine(text, "tessera_kv_cache_blocks" + model + ",state=\"free\"} 80");
  ExpectLine(text, "tessera_requests_total" + model + ",outcome=\"deadline\"} 7");
  ExpectLine(text, "tessera_kernel_fallbacks_total" + model + ",reason=\"untuned\"} 2");
  ExpectLine(text, "tessera_moe_expert_tokens_total" + model +
                       ",layer=\"3\",expert=\"2\",modality=\"text\"} 99");
  ExpectLine(text, "tessera_moe_layer_tokens_total" + model + ",layer=\"1\",modality=\"image\"} 2");
  ExpectLine(text, "tessera_moe_layer_tokens_total" + model + ",layer=\"3\",modality=\"text\"} 3");
  ExpectLine(text, "tessera_moe_busiest_expert_tokens_total" + model + ",layer=\"3\"} 6");
  ExpectLine(text, "tessera_step_rows_bucket" + model + ",le=\"1\"} 0");
  ExpectLine(text, "tessera_step_rows_bucket" + model + ",le=\"8\"} 1");
  ExpectLine(text, "tessera_step_rows_bucket" + model + ",le=\"16\"} 2");
  ExpectLine(text, "tessera_step_rows_bucket" + model + ",le=\"+Inf\"} 3");
  ExpectLine(text, "tessera_step_rows_count" + model + "} 3");
}

TEST(EngineMetricsTest, TellsWhatHoldsMemory) {
  testing::FakeEngine engine;
  engine.mutable_model().weight_bytes = 1000;
  engine.mutable_model().kv_bytes_per_token = 10;
  MemoryBudget memory(1 << 20);
  MemoryCharge receiving = memory.Open(MemoryUse::kReceiving);
  receiving.ForceResize(12);
  MemoryCharge requests = memory.Open(MemoryUse::kRequests);
  requests.ForceResize(34);
  const std::string text = Text(EngineFamilies(engine.model(), engine.Stats(), memory, 1));
  const std::string model = "{model_name=\"fake\"";
  ExpectLine(text, "tessera_model_memory_bytes" + model + ",use=\"weights\"} 1000");
  ExpectLine(text, "tessera_model_memory_bytes" + model + ",use=\"kv_cache\"} 20480");
  ExpectLine(text, "tessera_request_memory_bytes" + model + ",use=\"receiving\"} 12");
  ExpectLine(text, "tessera_request_memory_bytes" + model + ",use=\"requests\"} 34");
  ExpectLine(text, "tessera_request_memory_bytes" + model + ",use=\"pictures\"} 0");
  ExpectLine(text, "tessera_request_memory_limit_bytes" + model + "} 1048576");
}

TEST(EngineMetricsTest, TheKvCachesDtypeIsItsOwn) {
  testing::FakeEngine engine;
  engine.mutable_model().kv_dtype = "float8";
  const std::string text =
      Text(EngineFamilies(engine.model(), engine.Stats(), MemoryBudget(1 << 20), 1));
  EXPECT_NE(text.find(",num_blocks=\"128\",dtype=\"float8\"} 1\n"), std::string::npos);
}

TEST(EngineMetricsTest, OfTheRoutersOnlyWhatIsCounted) {
  const MemoryBudget memory(1 << 20);
  const testing::FakeEngine engine;
  EngineStats stats = engine.Stats();
  stats.expert_tokens.clear();
  const std::string layers = Text(EngineFamilies(engine.model(), stats, memory, 1));
  EXPECT_EQ(layers.find("tessera_moe_expert_tokens"), std::string::npos);
  EXPECT_NE(layers.find("tessera_moe_layer_tokens_total"), std::string::npos);
  stats.moe_layer_index.clear();
  stats.layer_experts.clear();
  stats.layer_tokens.clear();
  stats.busiest_tokens.clear();
  const std::string off = Text(EngineFamilies(engine.model(), stats, memory, 1));
  EXPECT_EQ(off.find("tessera_moe_"), std::string::npos);
}

TEST(EngineMetricsTest, WhileLoadingThereIsOnlyTheBuild) {
  const EngineSlot slot;
  const auto families = EngineMetrics(slot).Collect();
  ASSERT_EQ(families.size(), 1u);
  EXPECT_EQ(families[0].name, "tessera_build_info");
  ASSERT_EQ(families[0].metric[0].label.size(), 2u);
  EXPECT_EQ(families[0].metric[0].label[1].name, "commit");
  EXPECT_FALSE(families[0].metric[0].label[1].value.empty());
}

TEST(RpcMetricsTest, CountsByMethodAndCode) {
  RpcMetrics metrics;
  metrics.Opened(RpcMethod::kGenerate);
  metrics.Opened(RpcMethod::kGenerate);
  metrics.Answered(RpcMethod::kStreamGenerate, grpc::StatusCode::RESOURCE_EXHAUSTED, "QUEUE_FULL",
                   std::chrono::milliseconds(20));
  EXPECT_EQ(metrics.open_calls(), 1);
  EXPECT_EQ(metrics.unread_calls(), 1);
  ExpectLine(Text(metrics.Collect()), "tessera_grpc_server_unread_calls 1");
  metrics.Closed(RpcMethod::kGenerate);
  EXPECT_EQ(metrics.open_calls(), 1);
  EXPECT_EQ(metrics.unread_calls(), 0);
  const std::string text = Text(metrics.Collect());
  ExpectLine(text,
             "tessera_grpc_server_handled_total{grpc_method=\"StreamGenerate\","
             "grpc_code=\"RESOURCE_EXHAUSTED\"} 1");
  ExpectLine(text,
             "tessera_grpc_server_handled_total{grpc_method=\"ListModels\","
             "grpc_code=\"UNAUTHENTICATED\"} 0");
  ExpectLine(text,
             "tessera_grpc_server_handling_seconds_bucket{grpc_method=\"StreamGenerate\","
             "le=\"0.01\"} 0");
  ExpectLine(text,
             "tessera_grpc_server_handling_seconds_bucket{grpc_method=\"StreamGenerate\","
             "le=\"0.025\"} 1");
  ExpectLine(text, "tessera_grpc_server_open_calls 1");
  ExpectLine(text, "tessera_grpc_server_errors_total{reason=\"QUEUE_FULL\"} 1");
  for (int i = 0; i < kErrorReasons; ++i) {
    const auto reason = static_cast<ErrorReason>(i);
    if (reason == ErrorReason::kQueueFull) continue;
    ExpectLine(text, "tessera_grpc_server_errors_total{reason=\"" +
                         std::string(ErrorReasonName(reason)) + "\"} 0");
  }
}

TEST(ProcessMetricsTest, TellsPlausibleFigures) {
  double resident = 0;
  double files = 0;
  double start = 0;
  double uptime = -1;
  for (const auto& family : ProcessMetrics().Collect()) {
    if (family.name == "process_resident_memory_bytes") resident = family.metric[0].gauge.value;
    if (family.name == "process_open_fds") files = family.metric[0].gauge.value;
    if (family.name == "process_start_time_seconds") start = family.metric[0].gauge.value;
    if (family.name == "tessera_uptime_seconds") uptime = family.metric[0].gauge.value;
  }
  EXPECT_GT(resident, 1e6);
  EXPECT_LT(resident, 1e11);
  EXPECT_GE(files, 3);
  const auto now = static_cast<double>(time(nullptr));
  EXPECT_GT(start, now - 3600);
  EXPECT_LE(start, now + 2);
  EXPECT_GE(uptime, 0);
  EXPECT_NEAR(start + uptime, now, 3);
}

TEST(MetricsTest, PassPromtoolsCheck) {
  if (std::system("command -v promtool > /dev/null") != 0) {
    GTEST_SKIP() << "promtool is not installed (Debian: prometheus)";
  }
  testing::FakeEngine engine;
  EngineSlot slot;
  slot.Publish(&engine, 1);
  const auto path =
      std::filesystem::path(::testing::TempDir()) / ("metrics-" + std::to_string(getpid()));
  std::ofstream(path) << Text(EngineMetrics(slot).Collect()) << Text(RpcMetrics().Collect())
                      << Text(ProcessMetrics().Collect());
  const std::string said = path.string() + ".said";
  const int code =
      std::system(("promtool check metrics < " + path.string() + " > " + said + " 2>&1").c_str());
  std::ifstream file(said);
  EXPECT_EQ(code, 0) << std::string(std::istreambuf_iterator<char>(file), {});
  std::filesystem::remove(path);
  std::filesystem::remove(said);
}

}  // namespace
}  // namespace tessera
