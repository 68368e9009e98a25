// The lines that libraries log about themselves, in our log: errors where they are seen by default,
// since a library that gives up tells why nowhere else, the rest for debugging.
#pragma once

namespace tessera {

// After StartLog(), before gRPC is used.
void TakeLibraryLogs();

}  // namespace tessera
