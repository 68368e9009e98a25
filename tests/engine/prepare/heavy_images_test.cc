// Images that are much work, through the whole engine: which are served, which are refused before
// anything is decoded, and that nothing waits for them.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "engine/base/status.h"
#include "engine/step/image_encoder.h"
#include "tests/testing/data_path.h"
#include "tests/testing/images.h"
#include "tests/testing/phi_engine.h"

namespace tessera {
namespace {

using testing::CollectingSink;
using testing::DataPath;
using testing::ExpectIdle;
using testing::StartPhi;
using testing::Submit;

Request AskAbout(const std::vector<std::string>& images, int32_t max_tokens = 1) {
  Message message;
  for (const std::string& bytes : images) message.parts.emplace_back(EncodedImage{bytes, ""});
  message.parts.emplace_back("\nWhat is it?");
  Request request;
  request.input = std::vector<Message>{message};
  request.sampling.max_tokens = max_tokens;
  return request;
}

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Name and bytes of every image of the clone and, where it is there, of the folder beside it.
std::vector<std::pair<std::string, std::string>> GoldenFiles() {
  std::vector<std::pair<std::string, std::string>> files;
  for (const auto& folder : {DataPath("golden/images"), DataPath("../../shared/golden/images")}) {
    std::error_code missing;
    for (const auto& entry : std::filesystem::directory_iterator(folder, missing)) {
      const std::string extension = entry.path().extension();
      if (extension != ".json" && extension != ".safetensors") {
        files.emplace_back(entry.path(), ReadFile(entry.path()));
      }
    }
  }
  return files;
}

TEST(HeavyImagesTest, LargeImagesOfFewScansAreServed) {
  auto files = GoldenFiles();
  EXPECT_GE(files.size(), 20u);
  files.emplace_back("a blank PNG of 8000²", testing::BlankPng(8000, 8000));
  files.emplace_back("a blank WebP of 8000²", testing::BlankWebp(8000, 8000));
  files.emplace_back("a progressive JPEG of 20 megapixels and 20 scans",
                     testing::ProgressiveJpeg(5477, 3652, 20));
  const auto engine = StartPhi();
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (const auto& [name, bytes] : files) sinks.push_back(Submit(*engine, AskAbout({bytes})));
  for (size_t i = 0; i < files.size(); ++i) {
    sinks[i]->Wait();
    EXPECT_TRUE(sinks[i]->completion().status.ok())
        << files[i].first << ": " << sinks[i]->completion().status;
  }
  ExpectIdle(*engine);
}

TEST(HeavyImagesTest, WhatHeadersAndCountsTellIsToldBeforeTheFirstDecode) {
  const std::string blank = testing::BlankWebp(8000, 8000);
  const struct {
    const char* reason;
    const char* field;
    Request request;
  } cases[] = {
      {"CONTEXT_LENGTH_EXCEEDED", "sampling.max_tokens",
       AskAbout({blank, blank, blank, blank}, 2000)},
      {"IMAGE_TOO_LARGE", "conversation.messages[0].parts[10].image",
       AskAbout(std::vector<std::string>(16, testing::BlankWebp(8192, 8192)))},
      {"IMAGE_TOO_LARGE", "conversation.messages[0].parts[1].image",
       AskAbout({blank, testing::RepeatedScansJpeg(8192, 8192, 64)})},
      {"IMAGE_DECODE_FAILED", "conversation.messages[0].parts[2].image",
       AskAbout({blank, blank, "no image"})},
  };
  const auto engine = StartPhi();
  for (const auto& test : cases) {
    const auto sink = Submit(*engine, test.request);
    sink->Wait();
    const absl::Status status = sink->completion().status;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_EQ(StatusReason(status), test.reason) << status;
    EXPECT_EQ(StatusField(status), test.field) << status;
  }
  EXPECT_EQ(engine->Stats().images_decoded, 0u);
  ExpectIdle(*engine);
}

TEST(HeavyImagesTest, OthersAreServedWhileOneRequestIsDecoded) {
  const auto engine = StartPhi();
  const auto heavy =
      Submit(*engine, AskAbout(std::vector<std::string>(3, testing::BlankWebp(8000, 8000))));
  const auto image = Submit(*engine, AskAbout({testing::ReadImage("gray.png")}));
  const auto text = Submit(*engine, testing::Ask("And this?", "", 4));
  image->Wait();
  text->Wait();
  EXPECT_EQ(heavy->finishes(), 0) << "the others were behind it";
  heavy->Wait();
  EXPECT_TRUE(heavy->completion().status.ok()) << heavy->completion().status;
  ExpectIdle(*engine);
}

TEST(HeavyImagesTest, ShutdownEndsAndFreesRequestsThatAreDecodedOrQueued) {
  EngineOptions options;
  options.image_threads = 1;
  const auto engine = StartPhi(options);
  const Request heavy = AskAbout(std::vector<std::string>(8, testing::BlankPng(2500, 2500)));
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (int i = 0; i < 12; ++i) sinks.push_back(Submit(*engine, heavy));
  while (engine->Stats().images_decoded == 0) std::this_thread::yield();
  engine->Shutdown();
  for (const auto& sink : sinks) {
    EXPECT_EQ(sink->finishes(), 1);
    EXPECT_EQ(sink->completion().status.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(sink.use_count(), 1) << "nobody holds the request any more";
  }
  EXPECT_LT(engine->Stats().images_decoded, 8u);
  EXPECT_EQ(engine->memory().bytes(), 0);
}

TEST(HeavyImagesTest, CancelledRequestsGiveTheirBytesBackWhileOthersAreDecoded) {
  EngineOptions options;
  options.image_threads = 1;
  const auto engine = StartPhi(options);
  const std::string blank = testing::BlankPng(4000, 4000);
  const Request heavy = AskAbout(std::vector<std::string>(6, blank));
  std::vector<Ticket> tickets(20);
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (Ticket& ticket : tickets) sinks.push_back(Submit(*engine, heavy, &ticket));
  EXPECT_GE(engine->memory().bytes(MemoryUse::kRequests),
            static_cast<int64_t>(20 * 6 * blank.size()));
  for (const Ticket ticket : tickets) engine->Cancel(ticket);
  EXPECT_LE(engine->memory().bytes(MemoryUse::kRequests),
            static_cast<int64_t>(6 * blank.size()) + 100)
      << "of the one that is being decoded";
  for (const auto& sink : sinks) {
    sink->Wait();
    EXPECT_EQ(sink->completion().status.code(), absl::StatusCode::kCancelled);
  }
  ExpectIdle(*engine);
  EXPECT_LT(engine->Stats().images_decoded, 6u);
}

TEST(HeavyImagesTest, WithoutMemoryAClientGetsAdviceForClients) {
  const absl::Status device = absl::ResourceExhaustedError(
      "the GPU has no 77 MiB free; use a smaller model or --kv-cache-mib");
  const absl::Status told = ImageErrorForClient(device);
  EXPECT_EQ(told.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(StatusReason(told), "QUEUE_FULL");
  EXPECT_EQ(StatusMessage(told).find("--"), std::string_view::npos) << told;
  EXPECT_EQ(StatusMessage(told).find("GPU"), std::string_view::npos) << told;
  const absl::Status other = absl::InternalError("a bug");
  EXPECT_EQ(ImageErrorForClient(other), other);
}

}  // namespace
}  // namespace tessera
