#include "engine/checkpoint/zip_archive.h"

#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "tests/testing/torch_archive_writer.h"

namespace tessera {
namespace {

using testing::ZipWriter;

ZipWriter TwoFiles() { return ZipWriter().Add("a/first", "12345").Add("a/second", "678"); }

void ExpectRefused(const std::string& bytes, const std::string& named) {
  const absl::Status status = ReadZip(bytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(StatusMessage(status).find(named), std::string_view::npos) << named << ": " << status;
}

TEST(ZipArchiveTest, ListsFiles) {
  ZipWriter writer = TwoFiles();
  for (const bool in_64_bits : {false, true}) {
    writer.in_64_bits = writer.entries[0].in_64_bits = in_64_bits;
    for (const std::string& comment :
         {std::string(), std::string("PK\5\6 a comment"), std::string(65535, 'x')}) {
      writer.comment = comment;
      const std::string bytes = writer.Bytes();
      const auto files = ReadZip(bytes);
      ASSERT_TRUE(files.ok()) << files.status();
      ASSERT_EQ(files->size(), 2u);
      EXPECT_EQ(files->at("a/first").bytes, "12345");
      EXPECT_EQ(files->at("a/second").bytes, "678");
      EXPECT_FALSE(files->at("a/second").compressed);
    }
  }
  const std::string none = ZipWriter().Bytes();
  EXPECT_TRUE(ReadZip(none)->empty());
}

TEST(ZipArchiveTest, CompressedFilesAreMarked) {
  ZipWriter writer = TwoFiles();
  writer.entries[1].method = 8;
  const std::string bytes = writer.Bytes();
  const auto files = ReadZip(bytes);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_FALSE(files->at("a/first").compressed);
  EXPECT_TRUE(files->at("a/second").compressed);
}

TEST(ZipArchiveTest, AnArchiveCutAnywhereIsRefused) {
  ZipWriter writer = TwoFiles();
  for (const bool in_64_bits : {false, true}) {
    writer.in_64_bits = writer.entries[1].in_64_bits = in_64_bits;
    const std::string whole = writer.Bytes();
    for (size_t size = 0; size < whole.size(); ++size) {
      const auto files = ReadZip(std::string_view(whole).substr(0, size));
      ASSERT_EQ(files.status().code(), absl::StatusCode::kInvalidArgument) << "cut at " << size;
    }
  }
}

TEST(ZipArchiveTest, WhatEveryChangedByteLeavesLiesInTheFile) {
  ZipWriter writer = TwoFiles();
  for (const bool in_64_bits : {false, true}) {
    writer.in_64_bits = writer.entries[0].in_64_bits = in_64_bits;
    const std::string whole = writer.Bytes();
    for (size_t at = 0; at < whole.size(); ++at) {
      for (const int value : {0, 1, 0x7f, 0x80, 0xff}) {
        std::string changed = whole;
        changed[at] = static_cast<char>(value);
        const auto files = ReadZip(changed);
        if (!files.ok()) continue;
        for (const auto& [name, file] : *files) {
          ASSERT_GE(file.bytes.data(), changed.data());
          ASSERT_LE(file.bytes.data() + file.bytes.size(), changed.data() + changed.size());
        }
      }
    }
  }
}

TEST(ZipArchiveTest, EntriesMustLieInTheFileAndApart) {
  const auto refused = [](const auto& change, const std::string& named) {
    ZipWriter writer = TwoFiles();
    change(writer.entries[1]);
    ExpectRefused(writer.Bytes(), named);
    writer.entries[1].in_64_bits = true;
    ExpectRefused(writer.Bytes(), named);
  };
  using Entry = ZipWriter::Entry;
  refused([](Entry& entry) { entry.begin = 0; }, "a/second: another name at byte 0");
  refused([](Entry& entry) { entry.begin = 1; }, "a/second: no header at byte 1");
  refused([](Entry& entry) { entry.begin = 0xfffffff0; }, "a/second: no header at byte 4294967280");
  refused([](Entry& entry) { entry.size = 4; }, "a/second: 4 bytes at byte");
  refused([](Entry& entry) { entry.size = 0xfffffff0; }, "a/second: 4294967280 bytes at byte");
  refused([](Entry& entry) { entry.flags = 1; }, "a/second: encrypted");
  refused([](Entry& entry) { entry.name_in_header = "a/sec0nd"; }, "a/second: another name");
  refused([](Entry& entry) { entry.name = std::string(513, 'n'); }, "a file name of 513 bytes");
  ZipWriter overlap = TwoFiles();
  overlap.entries[0].size = 6;
  ExpectRefused(overlap.Bytes(), "a/first and a/second overlap");
  ZipWriter huge = TwoFiles();
  huge.entries[1].in_64_bits = true;
  huge.entries[1].begin = INT64_MAX;
  ExpectRefused(huge.Bytes(), "a/second: no header at byte 9223372036854775807");
  ZipWriter same = TwoFiles().Add("a/first", "12345");
  ExpectRefused(same.Bytes(), "a/first: is there twice");
  same.entries[2].begin = 0;
  ExpectRefused(same.Bytes(), "overlap");
}

TEST(ZipArchiveTest, TheDirectoryMustHoldWhatItTells) {
  ZipWriter writer = TwoFiles();
  writer.more_entries = 1;
  ExpectRefused(writer.Bytes(), "no entry at byte");
  writer.more_entries = -1;
  ExpectRefused(writer.Bytes(), "1 entries fill");
  ExpectRefused("", "no end");
  ExpectRefused(std::string(100'000, 'P'), "no end");
}

}  // namespace
}  // namespace tessera
