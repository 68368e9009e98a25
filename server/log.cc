#include "server/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/sinks/sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cmath>
#include <iterator>
#include <memory>
#include <utility>

#include "engine/base/escape_text.h"
#include "server/line_writer.h"

namespace tessera {
namespace {

using Level = spdlog::level::level_enum;
using Time = spdlog::log_clock::time_point;

constexpr std::chrono::seconds kFlushTime(1);
constexpr size_t kMaxTextBytes = 8192;  // of a message or a value

std::string Cut(std::string_view text) {
  if (text.size() <= kMaxTextBytes) return std::string(text);
  return std::string(text.substr(0, kMaxTextBytes)) + "…";
}

std::string_view LevelName(Level level) {
  const auto name = spdlog::level::to_string_view(level);
  return {name.data(), name.size()};
}

// RFC 3339 in UTC, with milliseconds.
std::string TimeText(Time time) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch());
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(spdlog::log_clock::to_time_t(time)),
                     ms.count() % 1000);
}

// One for each kind of value.
struct TextValue {
  std::string operator()(std::string_view value) const { return QuoteText(Cut(value)); }
  std::string operator()(LogWord value) const { return EscapeText(Cut(value.text)); }
  std::string operator()(int64_t value) const { return fmt::format("{}", value); }
  std::string operator()(double value) const { return fmt::format("{:.1f}", value); }
};

struct JsonValue {
  std::string operator()(std::string_view value) const { return JsonText(Cut(value)); }
  std::string operator()(LogWord value) const { return JsonText(Cut(value.text)); }
  std::string operator()(int64_t value) const { return fmt::format("{}", value); }
  std::string operator()(double value) const {
    return std::isfinite(value) ? fmt::format("{:.1f}", value) : "null";
  }
};

std::string TextMessage(std::string_view message, std::span<const LogField> fields) {
  std::string text = EscapeText(Cut(message));
  for (const LogField& field : fields) {
    fmt::format_to(std::back_inserter(text), " {}={}", field.key,
                   std::visit(TextValue(), field.value));
  }
  return text;
}

// "31" is red; blank: as it is.
std::string_view Colour(Level level) {
  if (level >= spdlog::level::err) return "31";
  if (level == spdlog::level::warn) return "33";
  return level == spdlog::level::info ? "32" : "";
}

// How lines look.
struct LineFormat {
  std::string operator()(Time time, Level level, std::string_view message,
                         std::span<const LogField> fields) const {
    return format == LogFormat::kJson ? Json(time, level, message, fields)
                                      : Text(time, level, message, fields);
  }
  std::string Text(Time time, Level level, std::string_view message,
                   std::span<const LogField> fields) const {
    std::string name(LevelName(level));
    if (coloured) name = fmt::format("\x1b[{}m{}\x1b[0m", Colour(level), name);
    return fmt::format("{} {} {}\n", TimeText(time), name, TextMessage(message, fields));
  }
  static std::string Json(Time time, Level level, std::string_view message,
                          std::span<const LogField> fields) {
    std::string line = fmt::format(R"({{"time":"{}","level":"{}","message":{})", TimeText(time),
                                   LevelName(level), JsonText(Cut(message)));
    for (const LogField& field : fields) {
      fmt::format_to(std::back_inserter(line), ",{}:{}", JsonText(field.key),
                     std::visit(JsonValue(), field.value));
    }
    return line + "}\n";
  }

  LogFormat format;
  bool coloured;
};

class LogSink final : public spdlog::sinks::sink {
 public:
  LogSink(LineFormat line, int fd)
      : line_(line), writer_(fd, {}, [line](uint64_t count) {
          return line(spdlog::log_clock::now(), Level::warn,
                      fmt::format("{} log lines were dropped", count), {});
        }) {}

  void Write(Time time, Level level, std::string_view message, std::span<const LogField> fields) {
    writer_.Add(line_(time, level, message, fields));
  }
  const LineWriter& writer() const { return writer_; }

  void log(const spdlog::details::log_msg& message) override {
    Write(message.time, message.level, {message.payload.data(), message.payload.size()}, {});
  }
  void flush() override {}
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

 private:
  const LineFormat line_;
  LineWriter writer_;
};

// The sink of StartLog(); null where something else logs, as in tests.
LogSink* DefaultSink() {
  const auto& sinks = spdlog::default_logger_raw()->sinks();
  return sinks.empty() ? nullptr : dynamic_cast<LogSink*>(sinks.front().get());
}

}  // namespace

void StartLog(LogFormat format, Level level, int fd) {
  const LineFormat line{format, format == LogFormat::kText && isatty(fd) == 1};
  auto logger = std::make_shared<spdlog::logger>("tessera", std::make_shared<LogSink>(line, fd));
  logger->set_level(level);
  // Its own way of telling that a line was lost would wait for the reader of standard error.
  logger->set_error_handler([](const std::string&) {});
  spdlog::set_default_logger(std::move(logger));
}

void Log(Level level, std::string_view message, std::span<const LogField> fields) {
  spdlog::logger& logger = *spdlog::default_logger_raw();
  if (!logger.should_log(level)) return;
  if (LogSink* const sink = DefaultSink()) {
    sink->Write(spdlog::log_clock::now(), level, message, fields);
  } else {
    logger.log(level, "{}", TextMessage(message, fields));
  }
}

void LogLast(const std::string& message) {
  if (DefaultSink() == nullptr) {
    const std::string line = fmt::format("tessera-server: {}\n", EscapeText(message));
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
    return;
  }
  spdlog::error("{}", message);
  FlushLog();
}

void FlushLog() {
  if (const LogSink* const sink = DefaultSink()) sink->writer().Flush(kFlushTime);
}

uint64_t LogLinesDropped() {
  const LogSink* const sink = DefaultSink();
  return sink == nullptr ? 0 : sink->writer().dropped();
}

}  // namespace tessera
