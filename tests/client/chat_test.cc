// `tessera chat` through pipes and on a terminal.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "client/message_file.h"
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

class ChatTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / "a.png") << "image";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  CommandResult Chat(const std::string& lines) {
    return RunCommand({"chat", "--address", server_.address()}, lines);
  }

  std::filesystem::path folder_ =
      std::filesystem::path(::testing::TempDir()) / ("chat_test." + std::to_string(getpid()));
  FakeServer server_;
};

TEST_F(ChatTest, KeepsTheTurns) {
  const CommandResult result = Chat("one\n\ntwo\n/regen\n/clear\nthree\n");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "Hello, world\nHello, world\nHello, world\nHello, world\n");
  EXPECT_EQ(result.err, "");
  const auto requests = server_.requests();
  ASSERT_EQ(requests.size(), 4u);
  const v1::Conversation& second = requests[1].conversation();
  ASSERT_EQ(second.messages_size(), 3);
  EXPECT_EQ(second.messages(1).role(), v1::ROLE_ASSISTANT);
  EXPECT_EQ(second.messages(1).parts(0).text(), "Hello, world");
  EXPECT_EQ(second.messages(2).parts(0).text(), "two");
  EXPECT_EQ(requests[2].SerializeAsString(), requests[1].SerializeAsString());
  EXPECT_EQ(requests[3].conversation().messages_size(), 1);
}

TEST_F(ChatTest, SavesWhatMessagesReads) {
  const std::string file = (folder_ / "saved.json").string();
  const CommandResult result =
      RunCommand({"chat", "--address", server_.address(), "--system", "Be kind."},
                 "/image " + (folder_ / "a.png").string() + "\nwhat?\n/save " + file + "\n");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const absl::StatusOr<v1::Conversation> saved = LoadConversation(file);
  ASSERT_TRUE(saved.ok()) << saved.status();
  ASSERT_EQ(saved->messages_size(), 3);
  EXPECT_EQ(saved->messages(0).role(), v1::ROLE_SYSTEM);
  EXPECT_EQ(saved->messages(1).SerializeAsString(),
            server_.requests()[0].conversation().messages(1).SerializeAsString());
  EXPECT_EQ(saved->messages(1).parts(0).image().data(), "image");
  EXPECT_EQ(saved->messages(2).parts(0).text(), "Hello, world");
}

TEST_F(ChatTest, ForgetsAQuestionThatFailed) {
  server_.Follow(
      {.error_code = 3, .error_message = "no", .error_reason = "CONTEXT_LENGTH_EXCEEDED"});
  const CommandResult result = Chat("one\ntwo\n");
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_TRUE(Has(result.err, "error: no\nreason: CONTEXT_LENGTH_EXCEEDED\n")) << result.err;
  EXPECT_EQ(server_.requests()[1].conversation().messages_size(), 1);
}

TEST_F(ChatTest, ReportsCommandsThatCannotBe) {
  const CommandResult result = Chat("/image nowhere.png\n/what\n/regen\n/exit\nnever asked\n");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(Has(result.err, "cannot read nowhere.png: No such file")) << result.err;
  EXPECT_TRUE(Has(result.err, "/what is unknown"));
  EXPECT_TRUE(Has(result.err, "no answer yet"));
  EXPECT_TRUE(server_.requests().empty());
}

TEST_F(ChatTest, EndsAtOnceWithoutServer) {
  EXPECT_EQ(RunCommand({"chat", "--address", "127.0.0.1:1"}, "hello\n").exit_code, 3);
}

TEST_F(ChatTest, CtrlCStopsTheAnswerThenLeaves) {
  server_.Follow(
      {.deltas = std::vector<std::string>(1000, "tick "), .pace = std::chrono::milliseconds(10)});
  RunningCommand chat({"chat", "--address", server_.address()}, RunningCommand::Kind::kTerminal);
  ASSERT_TRUE(Has(chat.ReadUntil("> "), "fake on cpu"));
  chat.Write("go\n");
  ASSERT_TRUE(Has(chat.ReadUntil("tick tick"), "tick tick"));
  chat.Write("\x03");
  ASSERT_TRUE(Has(chat.ReadUntil("> "), "> "));
  server_.Follow({});
  // What was said stays said.
  chat.Write("and now\n");
  ASSERT_TRUE(Has(chat.ReadUntil("tokens/s"), "Hello, world"));
  chat.ReadUntil("> ");
  EXPECT_TRUE(server_.WaitForCancelled(1));
  EXPECT_EQ(server_.requests()[1].conversation().messages_size(), 3);
  chat.Write("\x03");
  ASSERT_TRUE(Has(chat.ReadUntil("> "), "Ctrl-C again"));
  chat.Write("\x03");
  EXPECT_EQ(chat.Wait(), 130);
}

TEST_F(ChatTest, CtrlDLeaves) {
  RunningCommand chat({"chat", "--address", server_.address()}, RunningCommand::Kind::kTerminal);
  chat.ReadUntil("> ");
  chat.Write("\x04");
  EXPECT_EQ(chat.Wait(), 0);
}

}  // namespace
}  // namespace tessera
