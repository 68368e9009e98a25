#include "engine/base/mapping_guard.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <mutex>
#include <string_view>
#include <utility>

namespace tessera {
namespace {

// A signal handler is given nothing but the address, so what it knows is the process's.
std::mutex guards_mutex;  // of writers; the handler only reads
std::atomic<MappingGuard*> newest_guard = nullptr;
struct sigaction previous_action;

// Everything from here to OnBusError() is async-signal-safe.
void Write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

void WriteNumber(uint64_t number) {
  char digits[20];
  char* const end = digits + sizeof(digits);
  char* first = end;
  do {
    *--first = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number > 0);
  Write({first, static_cast<size_t>(end - first)});
}

[[noreturn]] void EndFor(const MappingGuard& guard) {
  Write(guard.path());
  struct stat now;
  if (stat(guard.path(), &now) == 0 && static_cast<uint64_t>(now.st_size) < guard.size()) {
    Write(": has changed while it was read: ");
    WriteNumber(guard.size());
    Write(" bytes have become ");
    WriteNumber(static_cast<uint64_t>(now.st_size));
  } else {
    Write(": cannot be read any more: it was cut for a while, or its disk failed");
  }
  Write("; start again when the file is whole\n");
  _exit(1);
}

void OnBusError(int signal, siginfo_t* info, void* context) {
  if (const MappingGuard* guard = MappingGuard::Find(info->si_addr)) EndFor(*guard);
  if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
    return previous_action.sa_sigaction(signal, info, context);
  }
  if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    return previous_action.sa_handler(signal);
  }
  // The access is repeated and ends the process as it would have.
  sigaction(SIGBUS, &previous_action, nullptr);
}

void InstallHandler() {
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &previous_action);
}

}  // namespace

MappingGuard::MappingGuard(std::string path, const void* begin, size_t size)
    : path_(std::move(path)), begin_(static_cast<const char*>(begin)), size_(size) {
  static std::once_flag installed;
  std::call_once(installed, InstallHandler);
  const std::lock_guard lock(guards_mutex);
  older_ = newest_guard;
  newest_guard = this;
}

MappingGuard::~MappingGuard() {
  const std::lock_guard lock(guards_mutex);
  if (newest_guard == this) {
    newest_guard = older_;
    return;
  }
  MappingGuard* newer = newest_guard;
  while (newer->older_ != this) newer = newer->older_;
  newer->older_ = older_;
}

const MappingGuard* MappingGuard::Find(const void* address) {
  const char* at = static_cast<const char*>(address);
  for (const MappingGuard* guard = newest_guard; guard != nullptr; guard = guard->older_) {
    if (std::less_equal<>()(guard->begin_, at) && std::less<>()(at, guard->begin_ + guard->size_)) {
      return guard;
    }
  }
  return nullptr;
}

}  // namespace tessera
