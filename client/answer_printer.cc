#include "client/answer_printer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace tessera {

AnswerPrinter::AnswerPrinter(Style style)
    : style_(style),
      out_is_terminal_(IsTerminal(STDOUT_FILENO)),
      err_is_terminal_(IsTerminal(STDERR_FILENO)),
      spinner_(err_is_terminal_) {}

void AnswerPrinter::PrintText(std::string_view text) {
  if (text.empty() || style_ == Style::kNothing) return;
  spinner_.Stop();
  if (!first_text_.has_value()) first_text_ = Clock::now();
  const std::string shown = out_is_terminal_ ? TerminalSafe(text) : std::string(text);
  std::fwrite(shown.data(), 1, shown.size(), stdout);
  std::fflush(stdout);
  line_open_ = true;
}

void AnswerPrinter::Finish(const v1::Usage& usage) {
  spinner_.Stop();
  if (style_ == Style::kNothing) return;
  line_open_ = true;
  EndLine();
  if (!err_is_terminal_) return;
  const auto seconds = [this](Clock::time_point time) {
    return std::chrono::duration<double>(time - start_).count();
  };
  std::string line = fmt::format("{} tokens", usage.generated_tokens());
  if (first_text_.has_value()) line += fmt::format(", first after {:.2f} s", seconds(*first_text_));
  if (usage.decode_ms() > 0 && usage.generated_tokens() > 1) {
    line += fmt::format(", {:.1f} tokens/s",
                        1000.0 * (usage.generated_tokens() - 1) / usage.decode_ms());
  }
  std::fputs((Dim(line) + "\n").c_str(), stderr);
}

void AnswerPrinter::Abort() {
  spinner_.Stop();
  EndLine();
}

void AnswerPrinter::EndLine() {
  if (!line_open_) return;
  std::fputc('\n', stdout);
  std::fflush(stdout);
  line_open_ = false;
}

}  // namespace tessera
