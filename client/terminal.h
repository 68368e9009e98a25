// What a person at a terminal sees and a pipe must not get: spinner, progress bar, dim lines. All
// of it goes to standard error.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace tessera {

bool IsTerminal(int fd);

// Without control characters (except newline and tab): an answer must not move the cursor or
// reprogram the terminal. Takes whole UTF-8 characters.
std::string TerminalSafe(std::string_view text);

// The same for names and messages, which stand in a line of ours: line breaks become spaces, and
// what turns the direction of reading is left out, too.
std::string TerminalWords(std::string_view text);

// The text in a dim colour.
std::string Dim(std::string_view text);

// Turns on standard error, in a thread of its own, until stopped or destroyed; does nothing when
// not enabled.
class Spinner {
 public:
  explicit Spinner(bool enabled);
  ~Spinner();

  // Ends the thread and clears the line. May be called again.
  void Stop();

 private:
  void Turn(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::jthread thread_;
};

// A line on standard error that is rewritten at most ten times a second; does nothing when not
// enabled.
class ProgressBar {
 public:
  explicit ProgressBar(bool enabled) : enabled_(enabled) {}
  ~ProgressBar() { Clear(); }

  // `share` done, in [0, 1]; `text` follows the bar.
  void Update(double share, std::string_view text);
  void Clear();

 private:
  bool enabled_;
  bool shown_ = false;
  int64_t last_ms_ = 0;
};

}  // namespace tessera
