// The `tessera` command as scripts and people meet it: exit codes, output, pipes, terminals,
// Ctrl-C.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "client/json.h"
#include "tests/client/command_line.h"
#include "tests/client/fake_server.h"

namespace tessera {
namespace {

using testing::CommandResult;
using testing::FakeServer;
using testing::RunCommand;
using testing::RunningCommand;
using testing::Script;

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class CommandTest : public ::testing::Test {
 protected:
  // With --address after the subcommand.
  CommandResult Run(std::vector<std::string> arguments, const std::string& in = "") {
    arguments.insert(arguments.begin() + 1, {"--address", server_.address()});
    return RunCommand(arguments, in);
  }

  Script Endless() {
    return {.deltas = std::vector<std::string>(1000, "tick "),
            .pace = std::chrono::milliseconds(10)};
  }

  FakeServer server_;
};

TEST_F(CommandTest, GeneratePrintsTheAnswerOnly) {
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--no-stream"}}) {
    std::vector<std::string> arguments = {"generate", "Hi?"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandResult result = Run(arguments);
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.out, "Hello, world\n");
    EXPECT_EQ(result.err, "");
  }
  EXPECT_EQ(server_.requests()[0].conversation().messages(0).parts(0).text(), "Hi?");
}

TEST_F(CommandTest, TextThatIsNoUtf8IsBadUsageAndIsNotSent) {
  const std::string bad =
      "ab\xFF"
      "c";
  const struct {
    std::vector<std::string> arguments;
    std::string in;
    std::string named;
  } cases[] = {
      {{"generate", bad}, "", "question"},
      {{"generate"}, bad, "standard input"},
      {{"generate", "--system", bad, "Hi?"}, "", "--system"},
      {{"generate", "--prompt-raw", bad}, "", "--prompt-raw"},
      {{"generate", "--stop", bad, "Hi?"}, "", "--stop"},
      {{"generate", "--model", bad, "Hi?"}, "", "--model"},
      {{"generate", "--request-id", bad, "Hi?"}, "", "--request-id"},
      {{"generate", "--cache-salt", bad, "Hi?"}, "", "--cache-salt"},
      {{"count", bad}, "", "question"},
      {{"chat", "--system", bad}, "Hi?", "--system"},
      {{"chat"}, bad + "\n", "the question"},
      {{"bench", "--prompt", bad}, "", "--prompt"},
  };
  for (const auto& test : cases) {
    const CommandResult result = Run(test.arguments, test.in);
    EXPECT_EQ(result.exit_code, 2) << test.named;
    EXPECT_TRUE(Has(result.err, test.named)) << result.err;
    EXPECT_TRUE(Has(result.err, "is not valid UTF-8: byte 2 is 0xff")) << result.err;
  }
  EXPECT_TRUE(server_.requests().empty());
}

TEST_F(CommandTest, GenerateReadsTheQuestionFromAPipe) {
  EXPECT_EQ(Run({"generate"}, "two\nlines\n").exit_code, 0);
  EXPECT_EQ(server_.requests()[0].conversation().messages(0).parts(0).text(), "two\nlines");
  const CommandResult empty = Run({"generate"}, "");
  EXPECT_EQ(empty.exit_code, 2);
  EXPECT_EQ(empty.err, "error: no question: standard input is empty\n");
}

TEST_F(CommandTest, GeneratePrintsOneJsonObject) {
  for (const char* how : {"--json", "--no-stream"}) {
    const CommandResult result = Run({"generate", "--json", how, "--request-id", "r7", "Hi?"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Json json = Json::parse(result.out);
    EXPECT_EQ(json["text"], "Hello, world");
    EXPECT_EQ(json["token_ids"], Json({100, 101}));
    EXPECT_EQ(json["prompt_token_ids"], Json({1, -200, 3}));
    EXPECT_EQ(json["finish_reason"], "stop");
    EXPECT_EQ(json["usage"]["generated_tokens"], 2);
    EXPECT_EQ(json["request_id"], "r7");
    EXPECT_EQ(json["model"], "fake");
    EXPECT_FALSE(json.contains("logprobs"));
    EXPECT_EQ(result.err, "");
  }
}

TEST_F(CommandTest, FlagsReachTheServer) {
  const CommandResult result = Run({"generate",
                                    "--max-tokens",
                                    "5",
                                    "--temperature",
                                    "0.5",
                                    "--top-k",
                                    "3",
                                    "--top-p",
                                    "0.9",
                                    "--seed",
                                    "77",
                                    "--presence-penalty",
                                    "-1",
                                    "--stop",
                                    "[a,b]",
                                    "--stop",
                                    "b",
                                    "--stop-id",
                                    "4",
                                    "--logit-bias",
                                    "9=-5",
                                    "--logprobs",
                                    "2",
                                    "--ignore-eos",
                                    "--image-mode",
                                    "crop",
                                    "--max-image-tokens",
                                    "256",
                                    "--parse-special-tokens",
                                    "--cache-salt",
                                    "s",
                                    "--model",
                                    "fake",
                                    "Hi?"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const v1::GenerateRequest request = server_.requests()[0];
  const v1::SamplingParams& sampling = request.sampling();
  EXPECT_EQ(sampling.max_tokens(), 5);
  EXPECT_EQ(sampling.temperature(), 0.5f);
  EXPECT_EQ(sampling.top_k(), 3);
  EXPECT_EQ(sampling.top_p(), 0.9f);
  EXPECT_EQ(sampling.seed(), 77u);
  EXPECT_EQ(sampling.presence_penalty(), -1);
  ASSERT_EQ(sampling.stop_size(), 2);
  EXPECT_EQ(sampling.stop(0), "[a,b]");
  EXPECT_EQ(sampling.stop_token_ids(0), 4);
  EXPECT_EQ(sampling.logit_bias().at(9), -5);
  EXPECT_EQ(sampling.logprobs(), 2);
  EXPECT_TRUE(sampling.ignore_eos());
  EXPECT_FALSE(sampling.has_min_p());
  EXPECT_FALSE(sampling.has_frequency_penalty());
  EXPECT_EQ(request.image_mode(), v1::IMAGE_MODE_CROP);
  EXPECT_EQ(request.max_image_tokens(), 256);
  EXPECT_TRUE(request.parse_special_tokens());
  EXPECT_EQ(request.cache_salt(), "s");
  EXPECT_EQ(request.model(), "fake");
}

TEST_F(CommandTest, UsageErrorsExitWith2) {
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"nonsense"},
      {"generate", "--nonsense"},
      {"generate", "--temperature", "hot", "Hi?"},
      {"generate", "--image-mode", "stretch", "Hi?"},
      {"generate", "--logit-bias", "5", "Hi?"},
      {"generate", "--timeout", "soon", "Hi?"},
      {"generate", "--address", "nowhere", "Hi?"},
      {"generate", "--image", "nowhere.png", "Hi?"},
      {"generate", "--prompt-raw", "a", "Hi?"},
      {"generate", "--messages", "nowhere.json"}};
  for (const auto& arguments : wrong) {
    const CommandResult result = RunCommand(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(result.err.rfind("error: ", 0), 0u) << result.err;
    EXPECT_EQ(result.out, "");
  }
  EXPECT_EQ(RunCommand({"--help"}).exit_code, 0);
  EXPECT_TRUE(Has(RunCommand({"generate", "--help"}).out, "--max-tokens"));
}

TEST_F(CommandTest, ErrorsHaveTheirExitCodesAndHints) {
  server_.Follow({.error_code = 8,
                  .error_message = "the queue is full",
                  .error_reason = "QUEUE_FULL",
                  .retry_after_s = 1.5});
  const CommandResult busy = Run({"generate", "Hi?"});
  EXPECT_EQ(busy.exit_code, 4);
  EXPECT_EQ(busy.err, "error: the queue is full\nreason: QUEUE_FULL\nretry after: 1.5 s\n");
  server_.Follow({.error_code = 3, .error_message = "top_p is 2", .error_field = "sampling.top_p"});
  const CommandResult rejected = Run({"generate", "--json", "Hi?"});
  EXPECT_EQ(rejected.exit_code, 4);
  EXPECT_EQ(rejected.err, "error: top_p is 2\nfield: sampling.top_p\n");
  EXPECT_EQ(rejected.out, "");
  server_.Follow({.error_code = 13, .fail_first = false, .error_message = "bug"});
  const CommandResult broken = Run({"generate", "Hi?"});
  EXPECT_EQ(broken.exit_code, 5);
  EXPECT_EQ(broken.out, "Hello, world\n");
  server_.Follow({.omit_finish = true});
  EXPECT_EQ(Run({"generate", "Hi?"}).exit_code, 5);
  EXPECT_EQ(RunCommand({"generate", "--address", "127.0.0.1:1", "Hi?"}).exit_code, 3);
}

TEST_F(CommandTest, TimeoutExitsWith124) {
  server_.Follow(Endless());
  EXPECT_EQ(Run({"generate", "--timeout", "200ms", "Hi?"}).exit_code, 124);
}

TEST_F(CommandTest, CtrlCCancelsAndExitsWith130) {
  server_.Follow(Endless());
  RunningCommand command({"generate", "--address", server_.address(), "Hi?"},
                         RunningCommand::Kind::kPipes);
  ASSERT_TRUE(Has(command.ReadUntil("tick"), "tick"));
  const auto start = std::chrono::steady_clock::now();
  command.Signal(SIGINT);
  EXPECT_EQ(command.Wait(), 130);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  EXPECT_TRUE(server_.WaitForCancelled(1));
}

TEST_F(CommandTest, TerminalShowsSpinnerAndFigures) {
  server_.Follow({.deltas = {"red\x1b[31m", " green"}, .pace = std::chrono::milliseconds(300)});
  RunningCommand command({"generate", "--address", server_.address(), "Hi?"},
                         RunningCommand::Kind::kTerminal);
  const std::string shown = command.ReadUntil("tokens/s");
  EXPECT_TRUE(Has(shown, "\r|\r/")) << shown;
  EXPECT_TRUE(Has(shown, "red[31m green")) << shown;
  EXPECT_TRUE(Has(shown, "2 tokens, first after 0.")) << shown;
  EXPECT_EQ(command.Wait(), 0);
}

TEST_F(CommandTest, FullDiskIsAnError) {
  RunningCommand command({"health", "--address", server_.address()}, RunningCommand::Kind::kPipes);
  EXPECT_EQ(command.Wait(), 0);
  const std::string shell = std::string(TESSERA_COMMAND) + " health --address " +
                            server_.address() + " >/dev/full 2>/dev/null";
  EXPECT_EQ(WEXITSTATUS(std::system(shell.c_str())), 1);
}

TEST_F(CommandTest, CountsTokens) {
  EXPECT_EQ(Run({"count", "Hi?"}).out, "612 tokens: 36 text, 576 image\n");
  EXPECT_EQ(Json::parse(Run({"count", "--json", "Hi?"}).out)["image_tokens"], 576);
}

TEST_F(CommandTest, ListsModels) {
  const CommandResult table = Run({"models"});
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_TRUE(Has(table.out, "fake")) << table.out;
  EXPECT_TRUE(Has(table.out, "2.5 M"));
  const Json json = Json::parse(Run({"models", "--json"}).out);
  ASSERT_EQ(json.size(), 1u);
  EXPECT_EQ(json[0]["parameters"], 2'500'000);
}

TEST_F(CommandTest, HealthExitCodeTells) {
  const CommandResult serving = Run({"health"});
  EXPECT_EQ(serving.exit_code, 0);
  EXPECT_EQ(serving.out, "SERVING\n");
  EXPECT_EQ(Run({"health", "--service", "nobody"}).exit_code, 3);
  server_.SetServing(false);
  const CommandResult draining = Run({"health"});
  EXPECT_EQ(draining.exit_code, 3);
  EXPECT_EQ(draining.out, "NOT_SERVING\n");
  EXPECT_EQ(RunCommand({"health", "--address", "127.0.0.1:1"}).exit_code, 3);
}

}  // namespace
}  // namespace tessera
