// One line per check, and the count at the end.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>

namespace tessera::golden {

class Report {
 public:
  // `what` names case, request and stage; `note` a measured figure or the reason of a failure.
  void Add(bool passed, const std::string& what, const std::string& note = "") {
    fmt::print("{} {}{}{}\n", passed ? "ok  " : "FAIL", what, note.empty() ? "" : ": ", note);
    std::fflush(stdout);
    ++(passed ? passed_ : failed_);
  }
  void Fail(const std::string& what, const std::string& why) { Add(false, what, why); }

  int passed() const { return passed_; }
  int failed() const { return failed_; }

 private:
  int passed_ = 0;
  int failed_ = 0;
};

}  // namespace tessera::golden
