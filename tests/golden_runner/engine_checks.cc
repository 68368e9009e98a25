#include <fmt/format.h>

#include <algorithm>

#include "engine/base/status.h"
#include "tests/golden_runner/checks.h"
#include "tests/testing/collecting_sink.h"

namespace tessera::golden {
namespace {

using tessera::testing::CollectingSink;

constexpr int32_t kSmallBlock = 16;  // so that short prompts fill some

// How the requests of a case are sent to an engine of its own.
struct Variant {
  const char* name;
  EngineOptions options;
  bool together = false;  // all at once, else one after the other
  int rounds = 1;         // the last one is checked
  bool expect_prefix_hits = false;
};

std::string_view FinishName(FinishReason reason) {
  return reason == FinishReason::kStop     ? "stop"
         : reason == FinishReason::kLength ? "length"
                                           : "none";
}

absl::StatusOr<std::unique_ptr<Engine>> Start(const ModelCase& golden, EngineOptions options) {
  options.max_image_tokens = 0;  // the reference has no limit but the model's
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, golden.make_backend(DType::kFloat32));
  return StartEngine(std::move(backend), golden.options, options);
}

int64_t Blocks(Engine& engine, const GoldenRequest& request, int64_t more_rows) {
  const auto counted = engine.CountTokens(request.request);
  if (!counted.ok()) return 0;
  return (counted->text_tokens + counted->image_tokens + more_rows + kSmallBlock - 1) / kSmallBlock;
}

// A cache that holds the prompts of the first two requests and one block of their answers: as both
// grow, one must give way.
EngineOptions TightOptions(const ModelCase& golden, Engine& engine) {
  EngineOptions tight;
  tight.prefix_cache = false;
  tight.block_size = kSmallBlock;
  int64_t blocks =
      Blocks(engine, golden.requests[0], 0) + Blocks(engine, golden.requests[1], 0) + 1;
  for (const GoldenRequest& request : golden.requests) {
    blocks = std::max(blocks, Blocks(engine, request, request.request.sampling.max_tokens));
  }
  tight.kv_cache_bytes = blocks * kSmallBlock * engine.model().kv_bytes_per_token;
  return tight;
}

std::vector<std::shared_ptr<CollectingSink>> RunRound(const ModelCase& golden, Engine& engine,
                                                      bool together) {
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (const GoldenRequest& request : golden.requests) {
    auto sink = std::make_shared<CollectingSink>();
    const auto ticket = engine.Submit(request.request, sink);
    if (!ticket.ok()) sink->OnFinish({ticket.status(), FinishReason::kNone, {}});
    if (!together) sink->Wait();
    sinks.push_back(std::move(sink));
  }
  for (const auto& sink : sinks) sink->Wait();
  return sinks;
}

void RunVariant(const ModelCase& golden, const Variant& variant, Report& report) {
  auto engine = Start(golden, variant.options);
  if (!engine.ok()) {
    report.Fail(fmt::format("{} {}", golden.name, variant.name),
                std::string(StatusMessage(engine.status())));
    return;
  }
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (int round = 0; round < variant.rounds; ++round)
    sinks = RunRound(golden, **engine, variant.together);
  for (size_t i = 0; i < sinks.size(); ++i) {
    const std::string what =
        fmt::format("{}/{} {}", golden.name, golden.requests[i].name, variant.name);
    const Completion completion = sinks[i]->completion();
    if (!completion.status.ok()) {
      report.Fail(what, std::string(StatusMessage(completion.status)));
      continue;
    }
    CheckAnswer(golden.requests[i], what, sinks[i]->token_ids(), sinks[i]->text(),
                std::string(FinishName(completion.finish_reason)), report);
    if (variant.expect_prefix_hits) {
      report.Add(completion.usage.cached_tokens > 0, what + " cached_tokens",
                 std::to_string(completion.usage.cached_tokens));
    }
  }
  // How many there are depends on when images are decoded; that the tight cache forces one is
  // tested with the engine's own tests.
  fmt::print("note {} {}: {} preemptions\n", golden.name, variant.name,
             (*engine)->Stats().preemptions);
}

}  // namespace

void CheckAnswer(const GoldenRequest& golden, const std::string& what,
                 const std::vector<int32_t>& tokens, const std::string& text,
                 const std::string& finish, Report& report) {
  std::string why;
  if (tokens != golden.tokens) {
    size_t at = 0;
    while (at < tokens.size() && at < golden.tokens.size() && tokens[at] == golden.tokens[at]) ++at;
    why = fmt::format("tokens differ from place {} of {} on", at, golden.tokens.size());
  } else if (text != golden.text_exact) {
    why = fmt::format("text is \"{}\", expected \"{}\"", text, golden.text_exact);
  } else if (finish != golden.finish) {
    why = fmt::format("finish is {}, expected {}", finish, golden.finish);
  }
  report.Add(why.empty(), what, why);
}

void CheckEngine(const ModelCase& golden, Report& report) {
  EngineOptions chunked;
  chunked.step_tokens = 16;
  EngineOptions small_blocks;
  small_blocks.block_size = kSmallBlock;
  std::vector<Variant> variants = {
      {"alone", {}},
      {"together", {}, /*together=*/true},
      {"chunked by 16", chunked, /*together=*/true},
      {"after a prefix hit", small_blocks, false, /*rounds=*/2, golden.reuses_prefixes},
  };
  const bool both_grow = golden.requests.size() > 1 && golden.requests[0].tokens.size() > 15 &&
                         golden.requests[1].tokens.size() > 15;
  if (both_grow) {
    if (auto probe = Start(golden, {}); probe.ok()) {
      variants.push_back({"in a tight cache", TightOptions(golden, **probe), /*together=*/true});
    }
  }
  for (const Variant& variant : variants) RunVariant(golden, variant, report);
}

}  // namespace tessera::golden
