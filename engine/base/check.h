// TESSERA_CHECK: ends the process when an invariant of our own code is broken, with place,
// condition and reason. Never used for anything that a user, a file or the network can cause: that
// is a Status.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

namespace tessera {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition,
                                     const std::string& reason) {
  std::fprintf(stderr, "%s:%d: check failed: %s %s\n", file, line, condition, reason.c_str());
  std::abort();
}

}  // namespace tessera

#define TESSERA_CHECK(condition)                                                  \
  do {                                                                            \
    if (!(condition)) ::tessera::CheckFailed(__FILE__, __LINE__, #condition, ""); \
  } while (false)

#define TESSERA_CHECK_MSG(condition, reason)                                          \
  do {                                                                                \
    if (!(condition)) ::tessera::CheckFailed(__FILE__, __LINE__, #condition, reason); \
  } while (false)
