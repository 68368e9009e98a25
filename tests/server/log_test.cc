// Lines of the log as their reader gets them.
#include "server/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <array>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

namespace tessera {
namespace {

constexpr char kTime[] = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z";

bool Matches(const std::string& text, const std::string& regex) {
  return testing::Matcher<const std::string&>(testing::MatchesRegex(regex)).Matches(text);
}

class LogTest : public ::testing::Test {
 protected:
  LogTest() { EXPECT_EQ(pipe2(ends_, O_NONBLOCK), 0); }
  ~LogTest() override {
    spdlog::set_default_logger(before_);
    close(ends_[0]);
    close(ends_[1]);
  }

  void Start(LogFormat format) { StartLog(format, spdlog::level::info, ends_[1]); }

  std::string Read() {
    FlushLog();
    std::string text(1 << 20, '\0');
    const ssize_t bytes = read(ends_[0], text.data(), text.size());
    text.resize(bytes > 0 ? static_cast<size_t>(bytes) : 0);
    return text;
  }

 private:
  int ends_[2];
  const std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
};

const std::array kFields = {LogField{"id", "a\" code=OK\n\u202e"}, LogField{"code", LogWord{"OK"}},
                            LogField{"tokens", int64_t{12}}, LogField{"ms", 3.25}};

TEST_F(LogTest, TextIsALineOfKeysAndValues) {
  Start(LogFormat::kText);
  Log(spdlog::level::info, "request", kFields);
  const std::string line = Read();
  EXPECT_TRUE(Matches(
      line, std::string(kTime) +
                R"( info request id="a\\" code=OK\\u\{a\}\\u\{202e\}" code=OK tokens=12 ms=3\.2)"
                "\n"))
      << line;
}

TEST_F(LogTest, JsonIsAnObjectALine) {
  Start(LogFormat::kJson);
  Log(spdlog::level::warn, "request", kFields);
  const std::string line = Read();
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const auto json = nlohmann::json::parse(line);
  EXPECT_TRUE(Matches(json.at("time").get<std::string>(), kTime));
  EXPECT_EQ(json.at("level"), "warning");
  EXPECT_EQ(json.at("message"), "request");
  EXPECT_EQ(json.at("id"), "a\" code=OK\n\u202e");
  EXPECT_EQ(json.at("code"), "OK");
  EXPECT_EQ(json.at("tokens"), 12);
  EXPECT_EQ(json.at("ms"), 3.2);
}

TEST_F(LogTest, LinesOfTheWholeProgramAreEscapedAndInTheFormat) {
  Start(LogFormat::kText);
  spdlog::info("loading {}", "/models/a\nb\u009b");
  EXPECT_TRUE(Read().ends_with(" info loading /models/a\\u{a}b\\u{9b}\n"));
  Start(LogFormat::kJson);
  spdlog::error("loading {}", "/models/a\nb\xff");
  const auto json = nlohmann::json::parse(Read());
  EXPECT_EQ(json.at("message"), "loading /models/a\nb\\xff");
  EXPECT_EQ(json.at("level"), "error");
}

TEST_F(LogTest, WhatIsNoNumberIsStillJson) {
  Start(LogFormat::kJson);
  const std::array fields = {LogField{"a", std::numeric_limits<double>::quiet_NaN()},
                             LogField{"b", std::numeric_limits<double>::infinity()}};
  Log(spdlog::level::info, "odd", fields);
  const auto json = nlohmann::json::parse(Read());
  EXPECT_TRUE(json.at("a").is_null());
  EXPECT_TRUE(json.at("b").is_null());
}

TEST_F(LogTest, LevelsBelowTheChosenOneAreLeftOut) {
  Start(LogFormat::kText);
  Log(spdlog::level::debug, "quiet", kFields);
  spdlog::debug("quiet");
  spdlog::info("loud");
  EXPECT_EQ(Read().find("quiet"), std::string::npos);
}

TEST_F(LogTest, EndlessTextsAreCut) {
  Start(LogFormat::kJson);
  const std::string endless(1 << 20, 'a');
  const LogField field{"text", endless};
  Log(spdlog::level::info, endless, {&field, 1});
  const std::string line = Read();
  EXPECT_LT(line.size(), 20000u);
  EXPECT_TRUE(nlohmann::json::accept(line));
}

}  // namespace
}  // namespace tessera
