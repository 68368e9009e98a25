// The whole engine on a small golden model: what a request gets does not depend on its neighbours,
// cancel and deadline end it at any stage, everything is given back, bad input gets an error that
// names the field.
#include "engine/engine.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/base/status.h"
#include "engine/cpu/make_cpu_backend.h"
#include "tests/testing/collecting_sink.h"
#include "tests/testing/data_path.h"
#include "tests/testing/phi_engine.h"
#include "tests/testing/temporary_directory.h"

namespace tessera {
namespace {

using testing::Ask;
using testing::CollectingSink;
using testing::DataPath;
using testing::ExpectIdle;
using testing::ReadImage;
using testing::RunAlone;
using testing::RunTogether;
using testing::StartPhi;
using testing::Submit;

// 32 requests of many kinds: text and images, greedy and sampled, short and long.
std::vector<Request> MixedRequests() {
  const char* const images[] = {"", "wide.png", "gray.png", "tall.jpg", "tiny.png", "square.png"};
  std::vector<Request> requests;
  for (int i = 0; i < 32; ++i) {
    Request request =
        Ask(fmt::format("Question {}: what is {} in the harbour?", i, std::string(i * 3, 'x')),
            images[i % 6], 8 + i % 17);
    if (i % 2 == 1) {
      request.sampling.temperature = 0.9f;
      request.sampling.top_p = 0.95f;
      request.sampling.seed = static_cast<uint64_t>(i);
      request.sampling.frequency_penalty = 0.3f;
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

class BatchInvariance : public ::testing::TestWithParam<DType> {};

TEST_P(BatchInvariance, SameTokensAloneBatchedChunkedCachedPreempted) {
  if (GetParam() == DType::kBFloat16 && !CpuHasNativeBFloat16()) GTEST_SKIP() << "no bfloat16";
  const std::vector<Request> requests = MixedRequests();
  std::vector<std::vector<int32_t>> alone;
  {
    const auto engine = StartPhi({}, RouterMode::kDeterministic, GetParam());
    for (const Request& request : requests) alone.push_back(RunAlone(*engine, request));
    for (size_t i = 0; i < requests.size(); ++i) {  // now after a prefix hit
      const auto sink = Submit(*engine, requests[i]);
      sink->Wait();
      EXPECT_EQ(sink->token_ids(), alone[i]) << "after a prefix hit, request " << i;
      EXPECT_GT(sink->completion().usage.cached_tokens, 0);
    }
    EXPECT_EQ(RunTogether(*engine, requests), alone) << "in a batch of 32";
    ExpectIdle(*engine);
  }
  EngineOptions chunked;
  chunked.step_tokens = 16;
  chunked.prefix_cache = false;
  EXPECT_EQ(RunTogether(*StartPhi(chunked, RouterMode::kDeterministic, GetParam()), requests),
            alone)
      << "chunks of 16";
  EngineOptions tight;
  tight.prefix_cache = false;
  const auto engine = StartPhi(tight, RouterMode::kDeterministic, GetParam());
  tight.kv_cache_bytes = engine->model().kv_bytes_per_token * 16 * 30;
  const auto preempting = StartPhi(tight, RouterMode::kDeterministic, GetParam());
  EXPECT_EQ(RunTogether(*preempting, requests), alone) << "with preemptions";
  EXPECT_GT(preempting->Stats().preemptions, 0u);
  ExpectIdle(*preempting);
}

INSTANTIATE_TEST_SUITE_P(DTypes, BatchInvariance,
                         ::testing::Values(DType::kFloat32, DType::kBFloat16, DType::kFloat16),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TEST(EngineTest, GumbelRoutingIsRepeatableAndIndependentOfBatchMates) {
  std::vector<Request> requests = MixedRequests();
  requests.resize(8);
  for (size_t i = 0; i < requests.size(); ++i) requests[i].sampling.seed = i + 1;
  const auto engine = StartPhi({}, RouterMode::kGumbel);
  std::vector<std::vector<int32_t>> alone;
  for (const Request& request : requests) alone.push_back(RunAlone(*engine, request));
  EXPECT_EQ(RunTogether(*engine, requests), alone);
  Request other = requests[0];
  other.sampling.seed = 77;
  EXPECT_NE(RunAlone(*engine, other), alone[0]);
}

TEST(EngineTest, CancelAtEveryStageGivesEverythingBack) {
  const auto engine = StartPhi();
  for (int chunks = 0; chunks < 6; ++chunks) {
    Ticket ticket = 0;
    const auto sink =
        Submit(*engine, Ask("Tell me more.", chunks % 2 == 0 ? "wide.png" : "", 500), &ticket);
    if (chunks > 0) sink->WaitForChunks(static_cast<size_t>(chunks));
    engine->Cancel(ticket);
    sink->Wait();
    EXPECT_EQ(sink->completion().status.code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(sink->completion().finish_reason, FinishReason::kCancelled);
    EXPECT_EQ(sink->finishes(), 1);
  }
  engine->Cancel(12345);  // unknown: ignored
  ExpectIdle(*engine);
}

TEST(EngineTest, DeadlineEndsRequestsThatWaitAndThatRun) {
  EngineOptions options;
  options.max_running = 1;
  const auto engine = StartPhi(options);
  Request running = Ask("A long story, please.", "", 1500);
  running.deadline = Clock::now() + std::chrono::milliseconds(150);
  Request waiting = Ask("And me?", "gray.png");
  waiting.deadline = Clock::now() + std::chrono::milliseconds(100);
  Request late = Ask("Too late already.");
  late.deadline = Clock::now() - std::chrono::seconds(1);
  const auto first = Submit(*engine, running);
  first->WaitForChunks(1);  // else the other might be prepared before it
  const auto second = Submit(*engine, waiting);
  const auto third = Submit(*engine, late);
  for (const auto& sink : {first, second, third}) {
    sink->Wait();
    EXPECT_EQ(sink->completion().status.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_EQ(sink->completion().finish_reason, FinishReason::kDeadline);
    EXPECT_EQ(StatusReason(sink->completion().status), "DEADLINE_EXCEEDED");
  }
  ExpectIdle(*engine);
}

TEST(EngineTest, TheSameImageIsEncodedOnce) {
  const auto engine = StartPhi();
  RunAlone(*engine, Ask("What is it?", "wide.png"));
  RunAlone(*engine, Ask("Something quite different: how many?", "wide.png"));
  EXPECT_EQ(engine->Stats().images_encoded, 1u);
  RunAlone(*engine, Ask("What is it?", "square.png"));
  EXPECT_EQ(engine->Stats().images_encoded, 2u);
}

TEST(EngineTest, ImagesNeverShareKeysAndValues) {
  const auto engine = StartPhi();
  const std::vector<int32_t> wide = RunAlone(*engine, Ask("What is in the picture?", "wide.png"));
  const std::vector<int32_t> square =
      RunAlone(*engine, Ask("What is in the picture?", "square.png"));
  EXPECT_NE(wide, square);
  EXPECT_EQ(RunAlone(*StartPhi(), Ask("What is in the picture?", "square.png")), square);
}

TEST(EngineTest, SaltsDoNotSharePrefixes) {
  const auto engine = StartPhi();
  Request request = Ask("The same words from two tenants.");
  request.cache_salt = "a";
  RunAlone(*engine, request);
  request.cache_salt = "b";
  const auto sink = Submit(*engine, request);
  sink->Wait();
  EXPECT_EQ(sink->completion().usage.cached_tokens, 0);
}

TEST(EngineTest, StopStringEndsTheAnswerBeforeIt) {
  const auto engine = StartPhi();
  Request request = Ask("What is in the picture?", "wide.png");
  const auto free = Submit(*engine, request);
  free->Wait();
  const std::string text = free->text();
  ASSERT_GT(text.size(), 12u);
  size_t begin = text.size() / 2;
  while ((static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) ++begin;
  size_t end = begin + 3;
  while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
  request.sampling.stop = {text.substr(begin, end - begin)};
  const auto stopped = Submit(*engine, request);
  stopped->Wait();
  EXPECT_EQ(stopped->text(), text.substr(0, text.find(request.sampling.stop[0])));
  EXPECT_EQ(stopped->completion().finish_reason, FinishReason::kStop);
}

TEST(EngineTest, UsageAddsUp) {
  const auto engine = StartPhi();
  const auto sink = Submit(*engine, Ask("What is in the picture?", "wide.png", 5));
  sink->Wait();
  const Usage usage = sink->completion().usage;
  EXPECT_EQ(usage.image_tokens, 16);
  EXPECT_EQ(usage.prompt_tokens, usage.text_tokens + usage.image_tokens);
  EXPECT_EQ(usage.generated_tokens, 5);
  EXPECT_EQ(sink->prompt().text_tokens, usage.text_tokens);
  EXPECT_EQ(sink->completion().finish_reason, FinishReason::kLength);
  const EngineStats stats = engine->Stats();
  EXPECT_EQ(stats.prompt_image_tokens, 16u);
  const auto total = [](const std::vector<uint64_t>& counts) {
    return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  };
  // Two routed layers, two choices per row; the last token is never fed back.
  EXPECT_EQ(total(stats.expert_tokens),
            2u * 2u * static_cast<uint64_t>(usage.prompt_tokens + 5 - 1));
  EXPECT_EQ(total(stats.layer_tokens), total(stats.expert_tokens));
}

TEST(EngineTest, CountsTheRoutersChoicesInTheDetailAskedFor) {
  const Request request = Ask("What is in the picture?", "wide.png", 5);
  const auto each = StartPhi();
  const std::vector<int32_t> answer = RunAlone(*each, request);
  const EngineStats all = each->Stats();
  ASSERT_EQ(all.layer_experts, (std::vector<int32_t>{4, 4}));
  ASSERT_EQ(all.expert_tokens.size(), 2u * 4 * 2);
  for (size_t layer = 0; layer < 2; ++layer) {
    uint64_t of_layer[2] = {0, 0};
    uint64_t most = 0;
    for (size_t expert = 0; expert < 4; ++expert) {
      const uint64_t* tokens = &all.expert_tokens[(layer * 4 + expert) * 2];
      of_layer[0] += tokens[0];
      of_layer[1] += tokens[1];
      most = std::max(most, tokens[0] + tokens[1]);
    }
    EXPECT_EQ(all.layer_tokens[layer * 2], of_layer[0]);
    EXPECT_EQ(all.layer_tokens[layer * 2 + 1], of_layer[1]);
    EXPECT_GE(all.busiest_tokens[layer], most)
        << "one expert's sum is at most that of each step's best";
    EXPECT_LE(all.busiest_tokens[layer] * 2, of_layer[0] + of_layer[1])
        << "a row chooses two experts";
    EXPECT_GE(all.busiest_tokens[layer] * 4, of_layer[0] + of_layer[1]) << "of four";
  }
  EngineOptions options;
  options.routing_telemetry = RoutingTelemetry::kLayer;
  const auto by_layer = StartPhi(options);
  EXPECT_EQ(RunAlone(*by_layer, request), answer);
  EXPECT_EQ(by_layer->Stats().layer_tokens, all.layer_tokens);
  EXPECT_EQ(by_layer->Stats().busiest_tokens.size(), 2u);
  EXPECT_TRUE(by_layer->Stats().expert_tokens.empty());
  options.routing_telemetry = RoutingTelemetry::kOff;
  const auto off = StartPhi(options);
  EXPECT_EQ(RunAlone(*off, request), answer);
  EXPECT_TRUE(off->Stats().moe_layer_index.empty());
  EXPECT_TRUE(off->Stats().layer_tokens.empty());
}

TEST(EngineTest, FullQueueRefusesWithAReason) {
  EngineOptions options;
  options.max_running = 1;
  options.max_waiting = 2;
  const auto engine = StartPhi(options);
  std::vector<std::shared_ptr<CollectingSink>> accepted;
  absl::Status refusal;
  for (int i = 0; i < 8 && refusal.ok(); ++i) {
    auto sink = std::make_shared<CollectingSink>();
    const auto ticket = engine->Submit(Ask("Wait.", "", 300), sink);
    if (ticket.ok()) accepted.push_back(sink);
    refusal = ticket.status();
  }
  EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(StatusReason(refusal), "QUEUE_FULL");
  for (const auto& sink : accepted) sink->Wait();
  ExpectIdle(*engine);
}

TEST(EngineTest, BadRequestsNameTheFieldAndDisturbNobody) {
  const auto engine = StartPhi();
  const auto steady = Submit(*engine, Ask("I keep talking.", "", 400));
  struct Case {
    std::string field;
    std::string reason;
    Request request;
  };
  std::vector<Case> cases;
  const auto add = [&](const std::string& field, const std::string& reason, auto change) {
    Request request = Ask("Fine.");
    change(request);
    cases.push_back({field, reason, std::move(request)});
  };
  const auto with_image = [](std::string bytes, std::string mime = "") {
    return [=](Request& request) {
      std::get<std::vector<Message>>(request.input)[0].parts.insert(
          std::get<std::vector<Message>>(request.input)[0].parts.begin(),
          EncodedImage{bytes, mime});
    };
  };
  const std::string whole = ReadImage("wide.png");
  const std::string image_field = "conversation.messages[0].parts[0].image";
  add(image_field, "IMAGE_DECODE_FAILED", with_image("no image at all"));
  add(image_field, "IMAGE_DECODE_FAILED", with_image(whole.substr(0, whole.size() / 2)));
  add(image_field, "IMAGE_DECODE_FAILED", with_image(whole, "image/jpeg"));
  add(image_field, "IMAGE_DECODE_FAILED", with_image(whole, "image/x-unheard-of"));
  add("conversation.messages[0].parts[0].text", "INVALID_PARAMETER", [](Request& request) {
    std::get<std::vector<Message>>(request.input)[0].parts[0] = std::string("\xff\xfe");
  });
  add("sampling.max_tokens", "CONTEXT_LENGTH_EXCEEDED",
      [](Request& request) { request.sampling.max_tokens = 3000; });
  add("conversation.messages[0].parts[0].text", "CONTEXT_LENGTH_EXCEEDED", [](Request& request) {
    std::get<std::vector<Message>>(request.input)[0].parts[0] = std::string(10 << 20, 'a');
  });
  add("sampling.top_p", "INVALID_PARAMETER", [](Request& request) { request.sampling.top_p = 0; });
  add("sampling.temperature", "INVALID_PARAMETER",
      [](Request& request) { request.sampling.temperature = std::nanf(""); });
  add("token_prompt.ids[1]", "INVALID_PARAMETER", [](Request& request) {
    request.input = TokenPrompt{{1, 599}, {}};
  });
  add("token_prompt.images", "INVALID_PARAMETER", [](Request& request) {
    request.input = TokenPrompt{{1, -200}, {}};
  });
  for (const Case& bad : cases) {
    auto sink = std::make_shared<CollectingSink>();
    absl::Status status = engine->Submit(bad.request, sink).status();
    if (status.ok()) {
      sink->Wait();
      status = sink->completion().status;
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.field << " " << status;
    EXPECT_EQ(StatusField(status), bad.field) << status;
    EXPECT_EQ(StatusReason(status), bad.reason) << status;
  }
  steady->Wait();
  EXPECT_EQ(steady->token_ids().size(), 400u);
  ExpectIdle(*engine);
}

TEST(EngineTest, NoStepIsLongBeforeItIsKnownWhatRowsTake) {
  const auto engine = StartPhi();
  const uint64_t before = engine->Stats().steps;
  RunAlone(*engine, Ask(std::string(1200, 'x'), "", 1));
  const EngineStats stats = engine->Stats();
  EXPECT_GT(stats.prompt_text_tokens, 300u);
  EXPECT_GE(stats.steps - before, 4u) << "of at most 32, 64, 128, 256 rows";
}

// A model with a weight that is not a number: nobody may sort its logits.
TEST(EngineTest, LogitsThatAreNoNumbersEndTheRequestBeforeAnythingIsMadeOfThem) {
  const testing::TemporaryDirectory directory;
  std::filesystem::copy(DataPath("golden/models/moe_llava_phi/model"), directory.path());
  const std::filesystem::path file = directory.path() / "model-00003-of-00003.safetensors";
  std::fstream weights(file, std::ios::in | std::ios::out | std::ios::binary);
  uint64_t header_bytes = 0;
  weights.read(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes));
  std::string header(header_bytes, '\0');
  weights.read(header.data(), static_cast<std::streamsize>(header_bytes));
  const auto offsets = nlohmann::json::parse(header).at("lm_head.weight").at("data_offsets");
  const size_t half = (offsets[1].get<size_t>() - offsets[0].get<size_t>()) / 2;
  weights.seekp(static_cast<std::streamoff>(8 + header_bytes + offsets[0].get<size_t>() + half));
  weights << std::string(half, '\xff');
  weights.close();

  ModelOptions model;
  model.model_dir = directory.path();
  model.vision_tower_dir = DataPath("golden/models/moe_llava_phi/vision_tower");
  const auto engine = StartEngine(*MakeCpuBackend({}), model, {});
  ASSERT_TRUE(engine.ok()) << engine.status();
  Request request = Ask("What is it?", "", 4);
  request.sampling.logprobs = 20;
  const auto sink = Submit(**engine, request);
  sink->Wait();
  EXPECT_EQ(sink->completion().status.code(), absl::StatusCode::kInternal);
  EXPECT_NE(StatusMessage(sink->completion().status).find("not finite"), std::string_view::npos);
  EXPECT_TRUE(sink->token_ids().empty());
  ExpectIdle(**engine);
}

TEST(EngineTest, ShutdownEndsEveryRequestOnce) {
  const auto engine = StartPhi();
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (int i = 0; i < 6; ++i)
    sinks.push_back(Submit(*engine, Ask("Endless.", i % 2 ? "gray.png" : "", 1000)));
  sinks[0]->WaitForChunks(2);
  engine->Shutdown();
  for (const auto& sink : sinks) {
    EXPECT_EQ(sink->finishes(), 1);
    EXPECT_EQ(sink->completion().status.code(), absl::StatusCode::kUnavailable);
  }
  auto sink = std::make_shared<CollectingSink>();
  EXPECT_EQ(engine->Submit(Ask("Hello?"), sink).status().code(), absl::StatusCode::kUnavailable);
}

TEST(EngineTest, LoadErrorsNameWhatIsWrong) {
  auto load = [](const std::filesystem::path& model, const std::filesystem::path& tower) {
    auto backend = MakeCpuBackend({});
    ModelOptions options;
    options.model_dir = model;
    options.vision_tower_dir = tower;
    return StartEngine(*std::move(backend), options, {}).status();
  };
  const auto model = DataPath("golden/models/moe_llava_phi/model");
  const absl::Status missing = load("/no/such/model", {});
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(StatusMessage(missing).find("/no/such/model/config.json"), std::string_view::npos);
  const absl::Status wrong_tower = load(model, {});
  EXPECT_NE(StatusMessage(wrong_tower).find("mm_hidden_size"), std::string_view::npos)
      << wrong_tower;
}

}  // namespace
}  // namespace tessera
