// What a failed download leaves in the place of a model's files is told for what it is, whichever
// file it is.
#include "engine/base/failed_download.h"

#include <gtest/gtest.h>

#include "engine/backend/dry_run_store.h"
#include "engine/base/status.h"
#include "engine/load/loaded_model.h"
#include "tests/testing/data_path.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr char kPointer[] =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 4937253848\n";
constexpr char kPage[] = "\n<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n";

TEST(FailedDownloadTest, ToldByContent) {
  EXPECT_NE(
      FailedDownload(kPointer).find("is a git-lfs pointer: the file itself (4937253848 bytes) "
                                    "was not downloaded"),
      std::string::npos);
  for (const char* page : {kPage, "\xef\xbb\xbf<HTML lang=\"en\">", "<!-- x -->\n<html>"}) {
    EXPECT_TRUE(FailedDownload(page).starts_with("is an HTML page")) << page;
  }
  EXPECT_TRUE(FailedDownload("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>")
                  .starts_with("is an XML page"));
  EXPECT_TRUE(FailedDownload("").starts_with("is empty"));
  for (const char* blank : {"\n", " \r\n\t \n", "\xef\xbb\xbf"}) {
    EXPECT_TRUE(FailedDownload(blank).starts_with("is blank")) << blank;
  }
  EXPECT_TRUE(FailedDownload(std::string(3000, ' ') + kPage).starts_with("is an HTML page"));
  EXPECT_TRUE(FailedDownload("<title>502 Bad Gateway</title>").starts_with("is an HTML page"));
  EXPECT_TRUE(
      FailedDownload("<Error><Code>NoSuchKey</Code></Error>").starts_with("is an XML page"));
  EXPECT_TRUE(
      FailedDownload("\xef\xbb\xbf" + std::string(kPointer)).starts_with("is a git-lfs pointer"));
  EXPECT_TRUE(FailedDownload(std::string(5000, '\0')).starts_with("begins with zeros"));
  EXPECT_TRUE(FailedDownload(std::string("\x1f\x8b\x08\0\0\0\0\0\0", 9))
                  .starts_with("is compressed (gzip)"));
  for (const char* file : {"{}", "<|im_start|>user", "a b", "<s>\n</s>", "version 2"}) {
    EXPECT_EQ(FailedDownload(file), "") << file;
  }
  for (const char* answer :
       {"Entry not found", "Invalid username or password.", "404: Not Found",
        "Access to model a/b is restricted.", "{\"error\":\"Repository not found\"}",
        "{\"status\": 404, \"message\": \"Not Found\"}", "{\n \"detail\": {\"a\": 1}}"}) {
    EXPECT_TRUE(FailedDownload(answer).starts_with("is a server's answer, \"")) << answer;
  }
  for (const char* file :
       {"{\"error\": 5, \"message\": 6}", "{\"a\": \"b\"}", "{\"errors\": \"replace\"}",
        "#version: 0.2\na b\n", "[]", "{{ messages }}", "NDA0 5\n"}) {
    EXPECT_EQ(FailedDownload(file), "") << file;
  }
  // A safetensors file whose header has as many bytes as gzip begins with.
  EXPECT_EQ(FailedDownload(std::string("\x1f\x8b\x08\0\0\0\0\0{", 9)), "");
  // What only holds such a text is no such thing.
  EXPECT_EQ(FailedDownload(kPointer + std::string(2000, ' ')), "");
  EXPECT_EQ(FailedDownload("{\"a\": \"<html>\"}"), "");
}

TEST(FailedDownloadTest, WhatIsInAFilesPlaceIsShown) {
  EXPECT_EQ(ContentInstead("hello you\nthere"),
            "; it begins with the text \"hello you\": was it downloaded?");
  EXPECT_EQ(ContentInstead(std::string("PK\x03\x04\0\0", 6)), "; it is a zip archive");
  EXPECT_EQ(ContentInstead("\x01\x02"), "");
  EXPECT_EQ(ContentInstead(""), "");
}

struct Case {
  const char* model;
  const char* file;
};

class FailedDownloadCases : public ::testing::TestWithParam<Case> {};

TEST_P(FailedDownloadCases, IsToldWithTheFilesName) {
  const auto& [model, file] = GetParam();
  const fs::path golden = testing::DataPath("golden/models") / model;
  const std::pair<const char*, const char*> contents[] = {
      {kPointer, "is a git-lfs pointer: the file itself (4937253848 bytes) was not downloaded"},
      {kPage, "is an HTML page"},
      {"Entry not found", "is a server's answer"},
      {"{\"error\":\"Repository not found\"}", "is a server's answer"},
      {"", "is empty"}};
  for (const auto& [content, message] : contents) {
    const testing::TemporaryDirectory directory;
    fs::copy(golden, directory.path(), fs::copy_options::recursive);
    const fs::path place = directory.path() / file;
    fs::remove(place);
    testing::WriteFile(place, content);
    ModelOptions options;
    options.model_dir = directory.path() / "model";
    if (fs::exists(directory.path() / "base")) options.base_dir = directory.path() / "base";
    if (fs::exists(directory.path() / "vision_tower")) {
      options.vision_tower_dir = directory.path() / "vision_tower";
    }
    DryRunStore backend(DType::kFloat32);
    HeaderCheck headers;
    const absl::Status status = LoadModel(backend, options, nullptr, &headers).status();
    EXPECT_NE(StatusMessage(status).find(place.string() + ": " + message), std::string::npos)
        << file << ": " << status;
  }
}

constexpr Case kCases[] = {
    {"qwen3_moe", "model/config.json"},
    {"qwen3_moe", "model/model.safetensors"},
    {"qwen3_moe", "model/generation_config.json"},
    {"qwen3_moe", "model/vocab.json"},
    {"qwen3_moe", "model/merges.txt"},
    {"qwen3_moe", "model/tokenizer_config.json"},
    {"qwen3_vl_moe", "model/preprocessor_config.json"},
    {"llava_hf", "model/model.safetensors.index.json"},
    {"llava_hf", "model/model-00002-of-00002.safetensors"},
    {"llava_hf", "model/tokenizer.json"},
    {"llava_hf", "model/preprocessor_config.json"},
    {"moe_llava_openchat", "model/tokenizer.model"},
    {"moe_llava_openchat", "model/pytorch_model-00003-of-00004.bin"},
    {"moe_llava_openchat", "model/pytorch_model.bin.index.json"},
    {"moe_llava_openchat", "model/special_tokens_map.json"},
    {"moe_llava_openchat", "vision_tower/config.json"},
    {"moe_llava_openchat", "vision_tower/preprocessor_config.json"},
    {"mole_peft_dir", "model/adapter_config.json"},
    {"mole_peft_dir", "model/adapter_model.safetensors"},
    {"mole_peft_dir", "base/config.json"},
};
INSTANTIATE_TEST_SUITE_P(Files, FailedDownloadCases, ::testing::ValuesIn(kCases));

}  // namespace
}  // namespace tessera
