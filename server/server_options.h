// The command line of tessera-server. Tests: tests/server/server_options_test.cc.
#pragma once

#include <chrono>
#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>
#include <variant>

#include "engine/engine.h"
#include "server/connection_options.h"
#include "server/device.h"
#include "server/listen_address.h"
#include "server/log.h"

namespace tessera {

struct ServerOptions {
  ModelOptions model;
  EngineOptions engine;
  DeviceChoice device = DeviceChoice::kAuto;
  DTypeChoice dtype = DTypeChoice::kAuto;
  WeightFormat weights = WeightFormat::kActivations;
  // Where the GPU's measured tiles are kept; unset: where the user's caches are; empty: nothing is
  // measured.
  std::optional<std::filesystem::path> tile_cache;
  int threads = 0;            // 0: one per core
  bool check = false;         // only say whether the model could be served
  bool list_devices = false;  // only say what `device` could be; needs no model
  ListenAddress grpc{.host = "127.0.0.1", .port = 50051};
  ListenAddress http{.host = "127.0.0.1", .port = 8080};
  ConnectionOptions connections;
  std::chrono::nanoseconds drain_timeout = std::chrono::seconds(30);
  std::string log_level = "info";
  LogFormat log_format = LogFormat::kText;
};

// The options, or the exit status of a command line that ends here: 0 after --help or --version,
// written to `out`; 2 after a mistake, with one line about it written to `err`.
std::variant<ServerOptions, int> ParseCommandLine(int argc, const char* const* argv,
                                                  std::ostream& out, std::ostream& err);

}  // namespace tessera
