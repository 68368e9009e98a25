#include "client/interrupt.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>

#include "client/exit_code.h"

namespace tessera {
namespace {

sigset_t InterruptSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

Interrupts::Interrupts() {
  const sigset_t set = InterruptSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  fd_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

Interrupts::~Interrupts() {
  close(fd_);
  const sigset_t set = InterruptSet();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void Interrupts::Take() const {
  signalfd_siginfo info;
  [[maybe_unused]] const ssize_t bytes = read(fd_, &info, sizeof(info));
}

StopOnInterrupt::StopOnInterrupt(const Interrupts& interrupts)
    : over_fd_(eventfd(0, EFD_CLOEXEC)), thread_([this, &interrupts] { Watch(interrupts); }) {}

StopOnInterrupt::~StopOnInterrupt() {
  eventfd_write(over_fd_, 1);
  thread_.join();
  close(over_fd_);
}

void StopOnInterrupt::Watch(const Interrupts& interrupts) {
  pollfd waits[] = {{over_fd_, POLLIN, 0}, {interrupts.fd(), POLLIN, 0}};
  while (true) {
    if (poll(waits, 2, -1) < 0) continue;
    if (waits[0].revents != 0) return;
    interrupts.Take();
    if (interrupted()) _exit(static_cast<int>(ExitCode::kInterrupted));
    source_.request_stop();
  }
}

}  // namespace tessera
