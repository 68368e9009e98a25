// Prints an answer as it arrives: text to standard output; on a terminal a spinner before it and a
// line of figures after it, both on standard error.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "client/terminal.h"
#include "tessera/v1/generation.pb.h"

namespace tessera {

class AnswerPrinter {
 public:
  // kNothing shows the spinner only.
  enum class Style { kText, kNothing };

  // The time to the first text counts from here.
  explicit AnswerPrinter(Style style);

  // More of the answer; may be empty.
  void PrintText(std::string_view text);

  // The answer is complete.
  void Finish(const v1::Usage& usage);

  // The answer failed: the error goes to a line of its own.
  void Abort();

 private:
  using Clock = std::chrono::steady_clock;

  void EndLine();

  Style style_;
  bool out_is_terminal_;
  bool err_is_terminal_;
  bool line_open_ = false;
  Clock::time_point start_ = Clock::now();
  std::optional<Clock::time_point> first_text_;
  Spinner spinner_;
};

}  // namespace tessera
