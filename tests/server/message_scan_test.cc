#include "server/message_scan.h"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "engine/base/status.h"
#include "server/utf8_check.h"
#include "tessera/v1/generation.pb.h"

namespace tessera {
namespace {

absl::StatusOr<int64_t> Scan(const std::string& bytes, int block = -1) {
  google::protobuf::io::ArrayInputStream input(bytes.data(), static_cast<int>(bytes.size()), block);
  return ScanMessage(*v1::GenerateRequest::descriptor(), input, static_cast<int>(bytes.size()));
}

v1::GenerateRequest Full() {
  v1::GenerateRequest request;
  request.set_model("model");
  request.set_request_id("id \xE2\x82\xAC");
  for (int i = 0; i < 3; ++i) {
    v1::Message* message = request.mutable_conversation()->add_messages();
    message->set_role(v1::ROLE_USER);
    message->add_parts()->set_text("gr\xC3\xBC\xC3\x9F dich \xF0\x9F\x8C\x8D and some more text");
    message->add_parts()->mutable_image()->set_data(std::string(300, '\xFF'));
  }
  v1::SamplingParams* sampling = request.mutable_sampling();
  sampling->set_temperature(0.5f);
  sampling->set_seed(1ull << 63);
  sampling->add_stop("\n\n");
  for (int i = 0; i < 20; ++i) sampling->add_stop_token_ids(i * 1000);
  for (int i = 0; i < 9; ++i) (*sampling->mutable_logit_bias())[i * 77] = 1.5f;
  return request;
}

std::string Text(const std::string& text) {
  v1::GenerateRequest request;
  request.mutable_conversation()->add_messages()->add_parts()->set_text("fine");
  request.mutable_conversation()->mutable_messages(0)->add_parts()->set_text(
      std::string(text.size(), '?'));
  std::string bytes = request.SerializeAsString();
  return bytes.replace(bytes.size() - text.size(), text.size(), text);
}

TEST(MessageScanTest, TakesWholeMessagesInPiecesOfAnySize) {
  const std::string bytes = Full().SerializeAsString();
  for (const int block : {-1, 1, 2, 3, 7, 64}) EXPECT_TRUE(Scan(bytes, block).ok()) << block;
  EXPECT_TRUE(Scan("").ok());
}

TEST(MessageScanTest, TellsAtLeastWhatTheMessageHolds) {
  v1::TokenPrompt* prompt = nullptr;
  v1::GenerateRequest tokens;
  prompt = tokens.mutable_token_prompt();
  for (int i = 0; i < 100'000; ++i) prompt->add_ids(1);
  v1::GenerateRequest parts;
  for (int i = 0; i < 4000; ++i) {
    parts.mutable_conversation()->add_messages()->add_parts()->mutable_image();
  }
  for (const v1::GenerateRequest& request : {Full(), tokens, parts}) {
    const auto held = Scan(request.SerializeAsString());
    ASSERT_TRUE(held.ok()) << held.status();
    EXPECT_GE(*held, static_cast<int64_t>(request.SpaceUsedLong()));
  }
}

TEST(MessageScanTest, NamesTheFieldOfTextThatIsNoUtf8) {
  for (const int block : {-1, 1, 3}) {
    const auto held = Scan(Text("ab\xFFz"), block);
    EXPECT_EQ(held.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(StatusField(held.status()), "conversation.messages[0].parts[1].text");
    EXPECT_EQ(ErrorMetadata(held.status())["byte_offset"], "2");
  }
  const std::string raw = "\x1A\x03\x0A\x01\xFF";  // raw_prompt { text: "\xFF" }
  EXPECT_EQ(StatusField(Scan(raw).status()), "raw_prompt.text");
  const std::string id = "\x42\x02\xC3\x28";
  EXPECT_EQ(StatusField(Scan(id).status()), "request_id");
  const std::string stop("\x2A\x05\x62\x00\x62\x01\xC3", 7);  // sampling { stop: "" stop: "\xC3" }
  EXPECT_EQ(StatusField(Scan(stop).status()), "sampling.stop[1]");
}

TEST(MessageScanTest, Utf8IsWhatTheStandardSays) {
  const struct {
    std::string_view text;
    int wrong;  // -1: nothing is
  } cases[] = {
      {"", -1},
      {"plain text of more than eight bytes", -1},
      {"\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", -1},
      {"a\x80", 1},                 // a continuation alone
      {"\xC0\x80", 0},              // overlong
      {"ab\xE0\x9F\xBF", 2},        // overlong
      {"\xF0\x8F\xBF\xBF", 0},      // overlong
      {"12345678\xED\xA0\x80", 8},  // a surrogate
      {"\xF4\x90\x80\x80", 0},      // over U+10FFFF
      {"\xF5\x80\x80\x80", 0},      //
      {"eight...\xE2\x82", 8},      // cut off
      {"x\xE2\x28\xA1", 1},         //
  };
  for (const auto& test : cases) {
    for (size_t cut = 0; cut <= test.text.size(); ++cut) {
      Utf8Check check;
      if (check.Add(test.text.substr(0, cut))) check.Add(test.text.substr(cut));
      const auto wrong = check.FirstError();
      EXPECT_EQ(wrong ? static_cast<int>(*wrong) : -1, test.wrong) << test.text << " " << cut;
    }
  }
}

TEST(MessageScanTest, TellsWhereAMessageIsMalformed) {
  const std::string good = Full().SerializeAsString();
  const auto cut = Scan(good.substr(0, 40));
  EXPECT_EQ(cut.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(ErrorMetadata(cut.status())["byte_offset"].empty());
  for (const std::string& bytes :
       {std::string("\xFF"), std::string("\x00", 1), std::string("\x0A\xFF\xFF\xFF\xFF\x0F"),
        std::string("\x0F"), std::string("\x0B"), std::string("\x0C"),
        std::string("\x38\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), std::string(64, '\xFF')}) {
    const auto held = Scan(bytes);
    ASSERT_FALSE(held.ok());
    EXPECT_NE(StatusMessage(held.status()).find("malformed at byte "), std::string_view::npos)
        << held.status();
    v1::GenerateRequest request;
    EXPECT_FALSE(request.ParseFromString(bytes));
  }
}

// Every field, also one that is added one day.
void ExpectLimits(const google::protobuf::Descriptor& type, int depth) {
  if (depth > 8) return;
  for (int i = 0; i < type.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *type.field(i);
    EXPECT_LE(MaxOccurrences(field.full_name()), int64_t{1} << 22) << field.full_name();
    if (field.message_type() != nullptr) ExpectLimits(*field.message_type(), depth + 1);
  }
}

TEST(MessageScanTest, RefusesMoreOfAFieldThanItsLimit) {
  ExpectLimits(*v1::GenerateRequest::descriptor(), 0);
  const auto repeat = [](const std::string& element, size_t count) {
    std::string bytes;
    for (size_t i = 0; i < count; ++i) bytes += element;
    return bytes;
  };
  const auto within = [](char tag, const std::string& bytes) {
    std::string field(1, tag);
    for (size_t size = bytes.size();; size >>= 7) {
      field += static_cast<char>((size & 0x7F) | (size > 0x7F ? 0x80 : 0));
      if (size <= 0x7F) break;
    }
    return field + bytes;
  };
  const std::string empty_parts = within('\x12', within('\x0A', repeat({"\x12\x00", 2}, 32 << 20)));
  const struct {
    std::string bytes;
    std::string field;
  } cases[] = {
      {empty_parts, "conversation.messages[0].parts[4096]"},
      {within('\x12', repeat({"\x0A\x00", 2}, 1 << 20)), "conversation.messages[4096]"},
      {within('\x1A', repeat({"\x12\x00", 2}, 1 << 20)), "raw_prompt.images[4096]"},
      {within('\x2A', repeat({"\x62\x00", 2}, 1 << 20)), "sampling.stop[16]"},
      {within('\x2A', repeat({"\x42\x00", 2}, 1 << 20)), "sampling.logit_bias[1024]"},
      {within('\x2A', within('\x6A', std::string(1 << 20, '\x01'))), "sampling.stop_token_ids[64]"},
      {within('\x22', within('\x0A', std::string(5 << 20, '\x01'))), "token_prompt.ids[4194304]"},
      {repeat({"\x2A\x00", 2}, 1 << 20), "sampling"},
      {repeat({"\x0A\x00", 2}, 1 << 20), "model"},
      {repeat({"\xF8\x07\x00", 3}, 1 << 20), ""},
  };
  for (const auto& test : cases) {
    const auto held = Scan(test.bytes);
    EXPECT_EQ(held.status().code(), absl::StatusCode::kInvalidArgument) << test.field;
    EXPECT_EQ(StatusField(held.status()), test.field) << held.status();
  }
}

// What it takes protobuf takes, and the other way round.
TEST(MessageScanTest, AgreesWithProtobufOnDamagedMessages) {
  std::mt19937 random(7);
  const std::string good = Full().SerializeAsString();
  int taken = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good;
    const size_t edits = 1 + random() % 3;
    for (size_t edit = 0; edit < edits; ++edit) {
      const size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(at, 1 + random() % 4);
          break;
        case 2:
          bytes.insert(at, 1, static_cast<char>(random()));
          break;
        default:
          bytes.resize(std::max<size_t>(1, at));
      }
      if (bytes.empty()) bytes = "\x08";
    }
    v1::GenerateRequest request;
    const bool parsed = request.ParseFromString(bytes);
    const auto held = Scan(bytes, static_cast<int>(1 + random() % 64));
    EXPECT_EQ(held.ok(), parsed) << held.status();
    if (!parsed) continue;
    ++taken;
    if (held.ok()) {
      EXPECT_GE(*held, static_cast<int64_t>(request.SpaceUsedLong()));
    }
  }
  EXPECT_GT(taken, 500);
}

}  // namespace
}  // namespace tessera
