#include "server/reserve_descriptor.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "server/refused_sockets.h"

namespace tessera {

bool ReserveDescriptor::Open() {
  held_ = FileDescriptor(open("/dev/null", O_RDONLY | O_CLOEXEC));
  return held_.valid();
}

ReserveDescriptor::Result ReserveDescriptor::RefuseOne(int listener) {
  if (!held_.valid() && !Open()) return Result::kLost;
  held_.Close();
  FileDescriptor waiting(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  const bool accepted = waiting.valid();
  CloseCleanly(std::move(waiting));
  if (!Open() && !accepted) return Result::kLost;
  return accepted ? Result::kRefused : Result::kNobodyWaits;
}

}  // namespace tessera
