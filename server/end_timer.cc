#include "server/end_timer.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <stop_token>

namespace tessera {

EndTimer::EndTimer(std::chrono::nanoseconds time)
    : thread_([time](const std::stop_token& ended) {
        std::mutex mutex;
        std::unique_lock lock(mutex);
        std::condition_variable_any changed;
        changed.wait_for(lock, ended, time, [] { return false; });
        if (ended.stop_requested()) return;
        spdlog::error(
            "the drain's time is over and something cannot be interrupted: ended without it");
        _exit(1);
      }) {}

}  // namespace tessera
