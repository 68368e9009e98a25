// The server's log on standard error, a line for each event: `TIME level message key=value …`, or
// an object of JSON. Lines are queued and written by a thread of their own (line_writer.h), so
// nobody waits for who reads them. Whatever texts hold from outside is escaped
// (engine/base/escape_text.h). Lines without fields come through spdlog's default logger, from
// every part of the program. Tests: tests/server/log_test.cc.
#pragma once

#include <spdlog/common.h>

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

namespace tessera {

enum class LogFormat : uint8_t { kText, kJson };

// A name of ours, such as a method's or a code's; stands without quotes in text.
struct LogWord {
  std::string_view text;
};

// Strings are quoted; of floating-point numbers one decimal is told. Views: for the call only.
struct LogField {
  std::string_view key;
  std::variant<std::string_view, LogWord, int64_t, double> value;
};

// Makes spdlog's default logger write to `fd`. Before other threads log; once per process.
void StartLog(LogFormat format, spdlog::level::level_enum level, int fd);
void Log(spdlog::level::level_enum level, std::string_view message,
         std::span<const LogField> fields);
// An error that is the last line: returns when it is written, or after a second. Straight to
// standard error where StartLog() was not called yet.
void LogLast(const std::string& message);
// Until what was logged before is written, at most a second; where the process ends without
// returning from main(). May be called by a signal's handler.
void FlushLog();
// Lines that found the queue full or no reader, since the start.
uint64_t LogLinesDropped();

}  // namespace tessera
