// Conversations as files: what is read, and what errors say.
#include "client/message_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "client/prompt.h"

namespace tessera {
namespace {

class MessageFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_ / "images");
    std::ofstream(folder_ / "images/a.jpg") << "A";
    std::ofstream(folder_ / "images/b.jpg") << "B";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  absl::StatusOr<v1::Conversation> Load(const std::string& text) {
    std::ofstream(file_) << text;
    return LoadConversation(file_);
  }

  std::filesystem::path folder_ = std::filesystem::path(::testing::TempDir()) /
                                  ("message_file_test." + std::to_string(getpid()));
  std::filesystem::path file_ = folder_ / "chat.json";
};

TEST_F(MessageFileTest, ReadsTextAndImages) {
  const absl::StatusOr<v1::Conversation> conversation = Load(R"([
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"image": "images/a.jpg"}, {"text": "\nWhat?"}]},
    {"role": "assistant", "content": "A cat."}])");
  ASSERT_TRUE(conversation.ok()) << conversation.status();
  ASSERT_EQ(conversation->messages_size(), 3);
  EXPECT_EQ(conversation->messages(0).role(), v1::ROLE_SYSTEM);
  EXPECT_EQ(conversation->messages(1).parts(0).image().data(), "A");
  EXPECT_EQ(conversation->messages(1).parts(1).text(), "\nWhat?");
  EXPECT_EQ(conversation->messages(2).role(), v1::ROLE_ASSISTANT);
}

TEST_F(MessageFileTest, ErrorsNameFileAndPlace) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"{", "parse error at line 1, column 2"},
      {"{}", "must be a JSON array of messages"},
      {"[]", "must be a JSON array of messages"},
      {"[3]", "messages[0] must be an object"},
      {R"([{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}])",
       "messages[1].role must be"},
      {R"([{"content": "a"}])", "messages[0].role must be"},
      {R"([{"role": 1, "content": "a"}])", "messages[0].role must be"},
      {R"([{"role": "user", "content": "a", "name": "b"}])", "messages[0].name is unknown"},
      {R"([{"role": "user"}])", "messages[0].content must be"},
      {R"([{"role": "user", "content": []}])", "messages[0].content must be"},
      {R"([{"role": "user", "content": [{"video": "v"}]}])", "messages[0].content[0] must be"},
      {R"([{"role": "user", "content": [{"text": "t", "image": "images/a.jpg"}]}])",
       "content[0] must be"},
      {R"([{"role": "user", "content": [{"image": 5}]}])", "messages[0].content[0] must be"},
      {R"([{"role": "user", "content": [{"image": "none.jpg"}]}])",
       "messages[0].content[0].image: cannot read " + (folder_ / "none.jpg").string() +
           ": No such file"}};
  for (const auto& [text, message] : wrong) {
    const absl::Status status = Load(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    const std::string said(status.message());
    EXPECT_EQ(said.rfind(file_.string() + ": ", 0), 0u) << said;
    EXPECT_NE(said.find(message), std::string::npos) << said;
  }
}

TEST_F(MessageFileTest, SavedConversationsAreReadBack) {
  v1::Conversation conversation;
  v1::Image a, b;
  a.set_data("A");
  b.set_data("B");
  *conversation.add_messages() = TextMessage(v1::ROLE_SYSTEM, "s");
  *conversation.add_messages() = UserMessage({a, b}, "What differs? \"é\"");
  *conversation.add_messages() = TextMessage(v1::ROLE_ASSISTANT, "colours");
  const absl::Status saved = SaveConversation(
      conversation, {(folder_ / "images/a.jpg").string(), (folder_ / "images/b.jpg").string()},
      file_);
  ASSERT_TRUE(saved.ok()) << saved;
  const absl::StatusOr<v1::Conversation> loaded = LoadConversation(file_);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->SerializeAsString(), conversation.SerializeAsString());
}

TEST_F(MessageFileTest, SaysWhyItCannotWrite) {
  EXPECT_EQ(SaveConversation({}, {}, folder_ / "none/x.json").code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(LoadConversation(folder_).status().message(),
            "cannot read " + folder_.string() + ": it is a directory");
}

}  // namespace
}  // namespace tessera
