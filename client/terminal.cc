#include "client/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace tessera {
namespace {

constexpr std::string_view kClearLine = "\r\x1b[K";
constexpr int kBarWidth = 30;

// Marks, embeddings, overrides and isolates of direction, separators of lines and paragraphs.
constexpr std::string_view kHidden[] = {"\u061c", "\u200e", "\u200f", "\u2028", "\u2029",
                                        "\u202a", "\u202b", "\u202c", "\u202d", "\u202e",
                                        "\u2066", "\u2067", "\u2068", "\u2069"};

void WriteError(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

bool IsTerminal(int fd) { return isatty(fd) == 1; }

std::string TerminalSafe(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c0 = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f;
    // U+0080 to U+009F, which some terminals obey as they do ESC sequences.
    const bool c1 =
        byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c1) ++i;
    if (!c0 && !c1) safe.push_back(text[i]);
  }
  return safe;
}

std::string TerminalWords(std::string_view text) {
  std::string words = TerminalSafe(text);
  for (const char c : {'\n', '\t'}) std::replace(words.begin(), words.end(), c, ' ');
  for (const std::string_view hidden : kHidden) {
    for (size_t at = 0; (at = words.find(hidden, at)) != words.npos;)
      words.erase(at, hidden.size());
  }
  return words;
}

std::string Dim(std::string_view text) { return fmt::format("\x1b[2m{}\x1b[0m", text); }

Spinner::Spinner(bool enabled) {
  if (!enabled) return;
  thread_ = std::jthread([this](const std::stop_token& stop) { Turn(stop); });
}

Spinner::~Spinner() { Stop(); }

void Spinner::Stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
  WriteError(kClearLine);
}

void Spinner::Turn(const std::stop_token& stop) {
  constexpr std::string_view kFrames = "|/-\\";
  std::unique_lock lock(mutex_);
  for (size_t frame = 0; !stop.stop_requested(); ++frame) {
    WriteError(fmt::format("\r{}", kFrames[frame % kFrames.size()]));
    stopped_.wait_for(lock, stop, std::chrono::milliseconds(100), [] { return false; });
  }
}

void ProgressBar::Update(double share, std::string_view text) {
  if (!enabled_ || NowMs() - last_ms_ < 100) return;
  last_ms_ = NowMs();
  shown_ = true;
  const int filled = static_cast<int>(std::clamp(share, 0.0, 1.0) * kBarWidth);
  WriteError(
      fmt::format("{}[{:#<{}}{:.<{}}] {}", kClearLine, "", filled, "", kBarWidth - filled, text));
}

void ProgressBar::Clear() {
  if (shown_) WriteError(kClearLine);
  shown_ = false;
}

}  // namespace tessera
