// How the process ends when it must: never without a line that says why. Tests:
// tests/server/last_words_test.cc, tests/server/process_test.py.
#pragma once

#include <string>

namespace tessera {

// From now on an exception that nobody catches is told before the process ends: with exit status 1
// where threads or memory have run out, which is the machine's state and no fault of ours, else by
// abort(). What was logged before an abort(), ours or a library's, is written first. A bad
// memory access is told, too. Needs no StartLog().
void TellWhyTheProcessEnds();
// From now on exit() with a failure ends the process at once, with its log: a library that calls it
// (libgomp, where no thread can be had) would run destructors beside the threads that use what they
// destroy. To be called when those threads have been started.
void EndAtOnceOnFailure();
// Ends the process in that way, as for lack of `what`, if no thread can be had now; else returns.
void EndIfThreadsHaveRunOut(const std::string& what);

}  // namespace tessera
