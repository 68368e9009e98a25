// A process that ends by itself says why, whatever thread it was.
#include "server/last_words.h"

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "server/log.h"

namespace tessera {
namespace {

using ::testing::ExitedWithCode;
using ::testing::KilledBySignal;

template <typename Exception>
void ThrowOnAThread(const Exception& exception) {
  TellWhyTheProcessEnds();
  StartLog(LogFormat::kText, spdlog::level::info, STDERR_FILENO);
  std::thread([&] { throw exception; }).join();
}

TEST(LastWordsDeathTest, LackOfMemoryOrThreadsIsAFailureWithAReason) {
  EXPECT_EXIT(ThrowOnAThread(std::bad_alloc()), ExitedWithCode(1),
              "error out of threads or memory .*lower --threads");
  const std::system_error no_thread(EAGAIN, std::generic_category());
  EXPECT_EXIT(ThrowOnAThread(no_thread), ExitedWithCode(1),
              "error out of threads or memory .*unavailable");
}

TEST(LastWordsDeathTest, AFaultIsToldBeforeTheAbort) {
  EXPECT_EXIT(ThrowOnAThread(std::runtime_error("odd\n")), KilledBySignal(SIGABRT),
              "error the process ends: nobody caught \"odd\\\\u\\{a\\}\"\n$");
}

TEST(LastWordsDeathTest, BeforeThereIsALog) {
  EXPECT_EXIT(
      {
        TellWhyTheProcessEnds();
        std::thread([] { throw std::bad_alloc(); }).join();
      },
      ExitedWithCode(1), "^tessera-server: out of threads or memory");
}

TEST(LastWordsDeathTest, ABadMemoryAccessIsTold) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer tells it";
#endif
  EXPECT_EXIT(
      {
        TellWhyTheProcessEnds();
        *static_cast<volatile int*>(nullptr) = 1;
      },
      KilledBySignal(SIGSEGV), "^tessera-server: .*bad memory access.*memory is short");
}

// As libraries do.
void LogAndAbort() {
  TellWhyTheProcessEnds();
  StartLog(LogFormat::kText, spdlog::level::info, STDERR_FILENO);
  for (int i = 0; i < 200; ++i) spdlog::info("line {}", i);
  spdlog::error("a library gives up");
  std::abort();
}

TEST(LastWordsDeathTest, WhatWasLoggedIsWrittenBeforeAnAbort) {
  EXPECT_EXIT(LogAndAbort(), KilledBySignal(SIGABRT), "line 199\n.* error a library gives up\n$");
}

}  // namespace
}  // namespace tessera
