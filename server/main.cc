// tessera-server: reads the command line, opens the ports, loads the model, serves until a signal,
// drains. With --check it only says what the model needs.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "engine/base/status.h"
#include "engine/load/model_check.h"
#include "engine/load/option_check.h"
#include "server/descriptor_limit.h"
#include "server/device.h"
#include "server/end_timer.h"
#include "server/last_words.h"
#include "server/library_log.h"
#include "server/log.h"
#include "server/server.h"
#include "server/server_options.h"
#include "server/signals.h"
#include "server/version.h"

namespace tessera {
namespace {

constexpr int kExitFailure = 1;
// After the drain's time: for cut calls to be read, and for what cannot be interrupted to end.
constexpr std::chrono::seconds kDrainMargin(2);

int Fail(const absl::Status& status) {
  spdlog::error("{}", std::string(StatusMessage(status)));
  return kExitFailure;
}

// Logs each tenth of the weights.
class LoadProgress {
 public:
  explicit LoadProgress(Server& server) : server_(server) {}

  void operator()(int64_t done, int64_t total) {
    server_.SetProgress(done, total);
    const int64_t tenth = total > 0 ? done * 10 / total : 0;
    if (tenth <= tenth_) return;
    tenth_ = tenth;
    spdlog::info("loading: {} of {} MiB", done >> 20, total >> 20);
  }

 private:
  Server& server_;
  int64_t tenth_ = 0;
};

// As MakeBackend() takes it. Without an own directory and a home nothing is kept.
std::optional<std::filesystem::path> TileCache(const ServerOptions& options) {
  if (options.tile_cache) {
    return options.tile_cache->empty() ? std::nullopt : options.tile_cache;
  }
  const char* const caches = std::getenv("XDG_CACHE_HOME");
  if (caches != nullptr && *caches == '/') return std::filesystem::path(caches) / "tessera";
  const char* const home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return std::filesystem::path(home) / ".cache/tessera";
  return std::filesystem::path();
}

// The device, once it is known that the model could be served there as the flags ask for.
absl::StatusOr<std::unique_ptr<Backend>> ChooseDevice(const ServerOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend,
                   MakeBackend(options.device, options.dtype, options.weights, TileCache(options),
                               options.threads));
  RETURN_IF_ERROR(CheckOptions(*backend, options.model, options.engine, MaxCacheBytes(*backend)));
  return backend;
}

absl::Status LoadModel(const ServerOptions& options, std::unique_ptr<Backend> backend,
                       Server& server) {
  const auto start = std::chrono::steady_clock::now();
  spdlog::info("loading {}", options.model.model_dir.string());
  ASSIGN_OR_RETURN(
      std::unique_ptr<Engine> engine,
      StartEngine(std::move(backend), options.model, options.engine, LoadProgress(server)));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const ModelInfo& model = engine->model();
  spdlog::info(
      "ready after {:.1f} s: {} ({}), {} on {}, {} MiB of weights in {}, context {}, KV cache in "
      "{}, {} bytes per token",
      seconds.count(), model.name, model.architecture, model.dtype, model.device,
      model.weight_bytes >> 20, model.weight_dtype, model.max_context, model.kv_dtype,
      model.kv_bytes_per_token);
  for (const std::string& warning : model.warnings) spdlog::warn("model: {}", warning);
  if (const GenerationDefaults& sampling = model.default_sampling;
      sampling != GenerationDefaults{}) {
    spdlog::info(
        "sampling that requests leave unset: temperature {}, top_k {}, top_p {}, min_p {}, "
        "repetition_penalty {}",
        sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p,
        sampling.repetition_penalty);
  }
  server.Publish(std::move(engine), seconds.count());
  return absl::OkStatus();
}

int Serve(const ServerOptions& options) {
  const Signals signals;
  auto backend = ChooseDevice(options);
  if (!backend.ok()) return Fail(backend.status());
  const DescriptorLimit descriptors = RaiseDescriptorLimit();
  spdlog::info("file descriptors: at most {} (was {})", descriptors.now, descriptors.before);
  auto server = Server::Start(options.grpc, options.http, options.connections);
  if (!server.ok()) return Fail(server.status());
  EndAtOnceOnFailure();
  spdlog::info("serving grpc on {}, http on {}", (*server)->grpc_address(),
               (*server)->http_address());
  {
    // Reading a model cannot be interrupted, but nothing is lost when the process ends meanwhile.
    const std::stop_callback leave(signals.first(), [] {
      spdlog::info("stopped while loading");
      FlushLog();
      _exit(0);
    });
    const absl::Status loaded = LoadModel(options, *std::move(backend), **server);
    if (!loaded.ok()) return Fail(loaded);
  }
  WaitForStop(signals.first());
  const EndTimer timer(options.drain_timeout + kDrainMargin);
  (*server)->Drain(options.drain_timeout, signals.second());
  spdlog::info("stopped");
  return 0;
}

int Check(const ModelOptions& options) {
  const ModelCheck check = CheckModel(options);
  std::cout << FormatCheck(check) << std::flush;
  return check.servable() ? 0 : kExitFailure;
}

int Main(int argc, char** argv) {
  auto parsed = ParseCommandLine(argc, argv, std::cout, std::cerr);
  if (const int* exit_code = std::get_if<int>(&parsed)) return *exit_code;
  const auto& options = std::get<ServerOptions>(parsed);
  StartLog(options.log_format, spdlog::level::from_str(options.log_level), STDERR_FILENO);
  TakeLibraryLogs();
  if (options.list_devices) {
    std::cout << ListDevices() << std::flush;
    return 0;
  }
  if (options.check) return Check(options.model);
  spdlog::info("tessera-server {} ({})", kVersion, kCommit);
  return Serve(options);
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  tessera::TellWhyTheProcessEnds();
  return tessera::Main(argc, argv);
}
