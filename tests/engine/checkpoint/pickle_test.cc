#include "engine/checkpoint/pickle.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "tests/testing/torch_archive_writer.h"

namespace tessera {
namespace {

using testing::LittleEndianBytes;
using testing::PickleDict;
using testing::PickleGlobal;
using testing::PickleInt;
using testing::PickleText;

constexpr std::string_view kAllowed[] = {"collections.OrderedDict", "torch.FloatStorage"};

std::string Whole(const std::string& value) { return "\x80\x02" + value + "."; }

void ExpectRefused(const std::string& bytes, const std::string& named) {
  const absl::Status status = ReadPickle(bytes, kAllowed).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << named;
  EXPECT_NE(StatusMessage(status).find(named), std::string_view::npos) << named << ": " << status;
  EXPECT_NE(StatusMessage(status).find("byte "), std::string_view::npos) << status;
  EXPECT_LT(StatusMessage(status).size(), 400u);
}

TEST(PickleTest, ReadsPlainValues) {
  const std::string bytes =
      Whole("(N\x88\x89K\xffM\xff\xffJ\xff\xff\xff\xff" + PickleInt(-5) +
            std::string("\x8a\x02\x00\x80\x8a\x00", 6) + std::string("G\0\0\0\0\0\0\0\0", 9) +
            PickleText("text") + "\x8c\x02xy" + "]K\1a(K\2K\3e" + ")\x85t");
  const auto pickle = ReadPickle(bytes, kAllowed);
  ASSERT_TRUE(pickle.ok()) << pickle.status();
  const PickleNode& root = pickle->at(pickle->root);
  ASSERT_EQ(root.kind, PickleKind::kTuple);
  ASSERT_EQ(root.items.size(), 14u);
  const auto item = [&](size_t i) -> const PickleNode& { return pickle->at(root.items[i]); };
  EXPECT_EQ(item(0).kind, PickleKind::kNone);
  EXPECT_EQ(item(1).integer, 1);
  EXPECT_EQ(item(2).kind, PickleKind::kBool);
  EXPECT_EQ(item(2).integer, 0);
  const int64_t integers[] = {255, 65535, -1, -5, -32768, 0};
  for (size_t i = 0; i < std::size(integers); ++i) EXPECT_EQ(item(3 + i).integer, integers[i]);
  EXPECT_EQ(item(9).kind, PickleKind::kFloat);
  EXPECT_EQ(item(10).text, "text");
  EXPECT_EQ(item(11).text, "xy");
  EXPECT_EQ(item(12).kind, PickleKind::kList);
  EXPECT_EQ(item(12).items.size(), 3u);
  ASSERT_EQ(item(13).kind, PickleKind::kTuple);
  EXPECT_EQ(pickle->at(item(13).items[0]).kind, PickleKind::kTuple);
}

TEST(PickleTest, ReadsDictsObjectsAndSharedValues) {
  const std::string bytes =
      Whole("}q\x05(" + PickleText("a") + PickleGlobal("torch", "FloatStorage") + "r" +
            LittleEndianBytes(70000, 4) + PickleText("b") + "j" + LittleEndianBytes(70000, 4) +
            "u" + PickleText("c") + "h\x05s" + PickleText("d") +
            PickleGlobal("collections", "OrderedDict") + ")R}bs");
  const auto pickle = ReadPickle(bytes, kAllowed);
  ASSERT_TRUE(pickle.ok()) << pickle.status();
  const PickleNode& root = pickle->at(pickle->root);
  ASSERT_EQ(root.items.size(), 8u);
  EXPECT_EQ(pickle->at(root.items[1]).integer, 1) << "the second allowed global";
  EXPECT_EQ(root.items[1], root.items[3]);
  EXPECT_EQ(root.items[5], pickle->root) << "a dict may contain itself";
  EXPECT_EQ(pickle->at(root.items[7]).kind, PickleKind::kObject);
  EXPECT_EQ(pickle->at(root.items[7]).items.size(), 2u) << "attributes are not kept";
}

TEST(PickleTest, OtherGlobalsAreRefusedByName) {
  for (const auto& [module, name] :
       std::initializer_list<std::pair<std::string, std::string>>{{"os", "system"},
                                                                  {"builtins", "eval"},
                                                                  {"torch", "FloatStorag"},
                                                                  {"torch.Float", "Storage"},
                                                                  {"collections", "OrderedDict "},
                                                                  {"", ""},
                                                                  {"collections.OrderedDict", ""},
                                                                  {"torc", ".FloatStorage"}}) {
    const std::string shown = name.substr(0, name.find(' '));
    ExpectRefused(Whole(PickleGlobal(module, name) + ")R"), "byte 2: " + module + "." + shown);
    ExpectRefused(Whole(PickleText(module) + PickleText(name) + "\x93"), module + "." + shown);
  }
  ExpectRefused(Whole(PickleGlobal(std::string(100'000, '\x1b'), "x")), "byte 2: ????");
  ExpectRefused(Whole(PickleInt(1) + PickleText("x") + "\x93"), "no string");
}

TEST(PickleTest, OnlyKnownOpcodesAreRead) {
  const std::string known(
      ".N\x88\x89KMJ\x8aGX\x8c}])\x85\x86\x87(teuasqr\x94hj"
      "c\x93QRb\x95");
  for (int opcode = 0; opcode < 256; ++opcode) {
    if (known.find(static_cast<char>(opcode)) != std::string::npos) continue;
    const std::string text = fmt::format("byte 3: opcode 0x{:02x}", opcode);
    ExpectRefused("\x80\x02N" + std::string(1, static_cast<char>(opcode)) + std::string(20, '\0'),
                  text);
  }
}

TEST(PickleTest, BrokenStacksAreRefused) {
  const char* cases[] = {"",      "NN",    "(",    "(N",    "t",     "\x85", "a",    "Na",
                         "s",     "}Ns",   "u",    "}(Nu",  "(e",    "N(e",  "R",    "NNR",
                         "b",     "N}b",   "Q",    "q\1",   "h\1",   "(q\1", "}(u(", "]}(NNub",
                         "N\x93", "((NtR", "\x94", "](NNu", "NN(NNu"};
  for (const char* text : cases) {
    const auto pickle = ReadPickle(Whole(text), kAllowed);
    EXPECT_EQ(pickle.status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  ExpectRefused(Whole("(NR"), "byte 4: the stack is empty");
}

TEST(PickleTest, HostileSizesAreRefused) {
  ExpectRefused("", "protocol");
  ExpectRefused(std::string("\x80\x01N.", 4), "protocol");
  ExpectRefused("(dp0\n.", "protocol");
  ExpectRefused("\x80\x02X\xff\xff\xff\xff....", "a string of 4294967295 bytes is cut");
  ExpectRefused("\x80\x02\x8c\x09....", "a string of 9 bytes is cut");
  ExpectRefused("\x80\x02\x8a\x09..........", "an integer of 9 bytes");
  ExpectRefused(
      "\x80\x02"
      "ctorch",
      "the pickle is cut");
  ExpectRefused(std::string(size_t{33} << 20, '\x80'), "at most");
}

// As deep, as wide and as often remembered as 32 MB allow: time and memory stay in proportion.
TEST(PickleTest, BombsAreBounded) {
  ExpectRefused(Whole(std::string(4'000'000, ']')), "more than 2097152 values");
  ExpectRefused(Whole(std::string(4'000'000, '(')), "more than 2097152 marks");
  std::string nested;
  for (int i = 0; i < 1'000'000; ++i) nested += "\x85";
  EXPECT_TRUE(ReadPickle(Whole("N" + nested), kAllowed).ok()) << "one tuple in the other";
  std::string again = "Nq\1";
  for (int i = 0; i < 4'000'000; ++i) again += "h\1";
  ExpectRefused(Whole(again), "more than 2097152 values");
  std::string remembered = "N";
  for (uint64_t i = 0; i < 2'500'000; ++i) remembered += "r" + LittleEndianBytes(i, 4);
  ExpectRefused(Whole(remembered), "more than 2097152 values");
}

TEST(PickleTest, APickleCutAnywhereIsRefused) {
  const std::string whole =
      Whole(PickleDict({PickleText("a"), PickleInt(7), PickleText("b"),
                        PickleGlobal("collections", "OrderedDict") + ")R", "\x8c\1c", "K\1\x85"}));
  ASSERT_TRUE(ReadPickle(whole, kAllowed).ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto pickle = ReadPickle(std::string_view(whole).substr(0, size), kAllowed);
    ASSERT_EQ(pickle.status().code(), absl::StatusCode::kInvalidArgument) << "cut at " << size;
  }
}

}  // namespace
}  // namespace tessera
