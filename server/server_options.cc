#include "server/server_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "engine/base/presence.h"
#include "engine/base/status.h"
#include "engine/base/system_memory.h"
#include "engine/base/utf8.h"
#include "server/version.h"

namespace tessera {
namespace {

// Flags that CLI11 gives us as text.
struct TextFlags {
  std::string listen = "127.0.0.1:50051";
  std::string http_listen = "127.0.0.1:8080";
  std::string drain_timeout = "30s";
  int64_t kv_cache_mib = 0;
};

template <typename Value>
using Choices = std::vector<std::pair<std::string, Value>>;

// A flag that takes one of some names.
template <typename Value, typename Target>
void AddChoice(CLI::App& app, const std::string& flag, const std::string& description,
               const Choices<Value>& choices, Target& target) {
  const auto choose = [flag, choices, &target](const std::string& given) {
    std::vector<std::string> names;
    for (const auto& [name, value] : choices) {
      names.push_back(name);
      if (name != given) continue;
      target = value;
      return;
    }
    throw CLI::ValidationError(
        flag, fmt::format("\"{}\" is not one of {}", given, fmt::join(names, ", ")));
  };
  app.add_option_function<std::string>(flag, choose, description)->type_name("NAME");
}

// Why a directory cannot be read; empty where it can.
std::string ReadableDirectory(const std::string& given) {
  return std::string(StatusMessage(CheckDirectory(given)));
}

void AddModelFlags(CLI::App& app, ServerOptions& options) {
  app.add_option("--model", options.model.model_dir, "Directory of the checkpoint")
      ->type_name("DIR")
      ->check(ReadableDirectory);
  app.add_option("--served-model-name", options.model.served_names,
                 "What requests may call the model; may be given several times, metrics carry the "
                 "first; default: the directory's name, or org/name from Hugging Face's cache")
      ->type_name("NAME")
      ->allow_extra_args(false);
  app.add_option("--vision-tower", options.model.vision_tower_dir,
                 "Directory of the vision tower, where it lies apart from the checkpoint or has "
                 "another geometry than its name's")
      ->type_name("DIR")
      ->check(ReadableDirectory);
  app.add_option("--base", options.model.base_dir,
                 "Directory of the model that an adapter release was trained on")
      ->type_name("DIR")
      ->check(ReadableDirectory);
  const Choices<RouterMode> routers = {{"deterministic", RouterMode::kDeterministic},
                                       {"gumbel", RouterMode::kGumbel}};
  AddChoice(app, "--router",
            "Choice of experts after the first: deterministic (default) or gumbel, the noise "
            "of training, drawn repeatably",
            routers, options.model.router);
  app.add_flag(
      "--emulate-capacity", options.model.emulate_capacity,
      "Experts drop the tokens that the reference's drop where the checkpoint bounds their "
      "capacity");
}

void AddCheckFlag(CLI::App& app, ServerOptions& options) {
  app.add_flag(
      "--check", options.check,
      "Read only configuration, tokenizer and headers of the weights, print what the model "
      "needs as lines of \"key: value\" and end: 0 when it could be served, 1 when not");
}

void AddDeviceFlags(CLI::App& app, ServerOptions& options) {
  const Choices<DeviceChoice> devices = {
      {"auto", DeviceChoice::kAuto}, {"cpu", DeviceChoice::kCpu}, {"cuda", DeviceChoice::kCuda}};
  AddChoice(app, "--device", "auto (default), cpu or cuda", devices, options.device);
  app.add_flag("--list-devices", options.list_devices,
               "Print what --device can name on this machine, and end");
  const Choices<DTypeChoice> dtypes = {{"auto", DTypeChoice::kAuto},
                                       {"float32", DTypeChoice::kFloat32},
                                       {"bfloat16", DTypeChoice::kBFloat16},
                                       {"float16", DTypeChoice::kFloat16}};
  AddChoice(app, "--dtype",
            "Of weights and activations: auto (default), float32, bfloat16 or float16", dtypes,
            options.dtype);
  const Choices<WeightFormat> weights = {{"fp8", WeightFormat::kFloat8},
                                         {"int8", WeightFormat::kInt8},
                                         {"int4", WeightFormat::kInt4},
                                         {"fp8-w8a8", WeightFormat::kFloat8W8A8}};
  AddChoice(app, "--weights",
            "Of the language model's matrices on a GPU: fp8 (E4M3) or int8 with a scale per row, "
            "int4 with one per 64 columns; fp8-w8a8: fp8, and so are the rows that they multiply "
            "(compute capability 9.0); default: in --dtype",
            weights, options.weights);
  const Choices<DType> kv_dtypes = {{"fp8", DType::kFloat8}};
  AddChoice(app, "--kv-dtype",
            "Of keys and values in a GPU's KV cache: fp8, 8 bits (E4M3) with a scale per row and "
            "head; default: --dtype",
            kv_dtypes, options.engine.kv_dtype);
  app.add_option_function<std::string>(
         "--tile-cache", [&options](const std::string& given) { options.tile_cache = given; },
         "Directory where a GPU keeps which tiles of matrix products it measured to be fastest; "
         "default: $XDG_CACHE_HOME/tessera or ~/.cache/tessera; \"\": nothing is measured")
      ->type_name("DIR");
  app.add_option("--threads", options.threads,
                 "Threads that compute; 0 (default): as many as processors or the control "
                 "group's quota of them allow")
      ->check(CLI::Range(0, 1024));
}

void AddLimitFlags(CLI::App& app, ServerOptions& options, TextFlags& text) {
  app.add_option("--max-running", options.engine.max_running, "Requests computed together at most")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  app.add_option("--max-waiting", options.engine.max_waiting,
                 "Requests that wait at most; more are refused")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--max-context", options.engine.max_context,
                 "Tokens of prompt and answer at most; 0 (default): the model's own")
      ->check(CLI::Range(0, 1 << 24));
  app.add_option("--max-image-tokens", options.engine.max_image_tokens,
                 "Tokens that one image may take where its size decides; larger ones are shrunk; "
                 "0: the model's own limit")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 24));
  app.add_option("--step-tokens", options.engine.step_tokens, "Tokens of one step at most")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option(
         "--kv-cache-mib", text.kv_cache_mib,
         "Memory of the KV cache; 0 (default): an eighth of the machine's, on a GPU most of what "
         "the weights leave")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30));
}

void AddTelemetryFlags(CLI::App& app, ServerOptions& options) {
  const Choices<RoutingTelemetry> details = {{"off", RoutingTelemetry::kOff},
                                             {"layer", RoutingTelemetry::kLayer},
                                             {"expert", RoutingTelemetry::kExpert}};
  AddChoice(app, "--routing-telemetry",
            "Metrics of the routers' choices: off, layer (sums by layer) or expert (also of "
            "each expert); default: expert up to 512 experts in all layers, else layer",
            details, options.engine.routing_telemetry);
}

void AddServingFlags(CLI::App& app, ServerOptions& options, TextFlags& text) {
  app.add_option("--listen", text.listen, "Address for gRPC; port 0: any free one")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_option("--http-listen", text.http_listen, "Address for /metrics, /healthz and /readyz")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_option("--max-connections", options.connections.max_connections,
                 "Connections of the gRPC port at most; 0 (default): as many as file descriptors "
                 "allow (ulimit -Hn), at most 4096")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
  app.add_option("--max-connections-per-address", options.connections.max_connections_per_address,
                 "Of them, those from one IPv4 address or one IPv6 /64; 0 (default): a quarter, or "
                 "64 if that is more. Behind a proxy all have its address")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
  app.add_option("--drain-timeout", text.drain_timeout,
                 "How long requests may run on after SIGTERM, such as 30s, 500ms or 2m")
      ->type_name("TIME")
      ->capture_default_str();
  app.add_option("--log-level", options.log_level, "debug, info, warning or error")
      ->capture_default_str()
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  const Choices<LogFormat> formats = {{"text", LogFormat::kText}, {"json", LogFormat::kJson}};
  AddChoice(app, "--log-format", "Lines of the log: text (default) or json, an object each",
            formats, options.log_format);
}

// Two hosts that share a port when they are the same or one is all of them.
absl::Status CheckPortsApart(const ListenAddress& grpc, const ListenAddress& http) {
  const auto all = [](const ListenAddress& address) {
    return address.host == "0.0.0.0" || address.host == "::";
  };
  if (grpc.port == 0 || grpc.port != http.port) return absl::OkStatus();
  if (grpc.host != http.host && !all(grpc) && !all(http)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("--listen {} and --http-listen {} are the same port; they need one each",
                  ToString(grpc), ToString(http)));
}

absl::Status ReadTextFlags(const TextFlags& text, ServerOptions& options) {
  const auto grpc = ParseListenAddress(text.listen);
  if (!grpc.ok()) return Annotate(grpc.status(), "--listen");
  const auto http = ParseListenAddress(text.http_listen);
  if (!http.ok()) return Annotate(http.status(), "--http-listen");
  absl::Duration timeout;
  if (!absl::ParseDuration(text.drain_timeout, &timeout) || timeout < absl::ZeroDuration() ||
      timeout > absl::Hours(24)) {
    return absl::InvalidArgumentError(fmt::format(
        "--drain-timeout: \"{}\" is not a time of at most 24h such as 30s", text.drain_timeout));
  }
  RETURN_IF_ERROR(CheckPortsApart(*grpc, *http));
  options.grpc = *grpc;
  options.http = *http;
  options.drain_timeout = absl::ToChronoNanoseconds(timeout);
  options.engine.kv_cache_bytes = text.kv_cache_mib << 20;
  options.engine.max_inflight_bytes =
      std::max(options.engine.max_inflight_bytes, SystemMemoryBytes() / 16);
  return absl::OkStatus();
}

absl::Status CheckModelGiven(const ServerOptions& options) {
  if (options.list_devices || !options.model.model_dir.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("--model is required");
}

absl::Status CheckServedNames(const ServerOptions& options) {
  constexpr size_t kMaxBytes = 128;
  for (const std::string& name : options.model.served_names) {
    const bool control = std::any_of(name.begin(), name.end(),
                                     [](unsigned char c) { return c < 0x20 || c == 0x7F; });
    if (name.empty() || name.size() > kMaxBytes || control || !ValidateUtf8(name).ok()) {
      return absl::InvalidArgumentError(
          fmt::format("--served-model-name: a name has 1 to {} bytes of UTF-8 without control "
                      "characters, this one has {}",
                      kMaxBytes, name.size()));
    }
  }
  return absl::OkStatus();
}

// `flag` with its value asks for fewer than 16 bits of something.
absl::Status CheckNarrow(const ServerOptions& options, std::string_view flag) {
  if (options.device != DeviceChoice::kCuda) {
    return absl::InvalidArgumentError(
        fmt::format("{} is for the GPU only; add --device cuda or leave it out", flag));
  }
  if (options.dtype == DTypeChoice::kFloat32) {
    return absl::InvalidArgumentError(
        fmt::format("{} does not go with --dtype float32; use bfloat16 or float16", flag));
  }
  return absl::OkStatus();
}

absl::Status CheckDeviceFlags(const ServerOptions& options) {
  if (options.weights != WeightFormat::kActivations) {
    RETURN_IF_ERROR(
        CheckNarrow(options, fmt::format("--weights {}", WeightFormatName(options.weights))));
  }
  return options.engine.kv_dtype ? CheckNarrow(options, "--kv-dtype fp8") : absl::OkStatus();
}

absl::Status CheckTileCache(const ServerOptions& options) {
  if (!options.tile_cache || options.tile_cache->empty()) return absl::OkStatus();
  if (options.device == DeviceChoice::kCpu) {
    return absl::InvalidArgumentError(
        "--tile-cache is for the GPU only; leave it out with --device cpu");
  }
  if (options.tile_cache->native().starts_with('-')) {  // CLI11 gives it to a flag that ends in =
    return absl::InvalidArgumentError(
        fmt::format("--tile-cache: \"{}\" is a flag; nothing is measured with --tile-cache \"\"",
                    options.tile_cache->string()));
  }
  std::error_code error;
  if (std::filesystem::exists(*options.tile_cache, error) &&
      !std::filesystem::is_directory(*options.tile_cache, error)) {
    return absl::InvalidArgumentError(
        fmt::format("--tile-cache: \"{}\" is no directory", options.tile_cache->string()));
  }
  return absl::OkStatus();
}

}  // namespace

std::variant<ServerOptions, int> ParseCommandLine(int argc, const char* const* argv,
                                                  std::ostream& out, std::ostream& err) {
  ServerOptions options;
  TextFlags text;
  CLI::App app("Serves a multimodal mixture-of-experts model over gRPC.", "tessera-server");
  app.set_version_flag("--version", fmt::format("tessera-server {} ({})", kVersion, kCommit));
  AddModelFlags(app, options);
  AddCheckFlag(app, options);
  AddDeviceFlags(app, options);
  AddLimitFlags(app, options, text);
  AddTelemetryFlags(app, options);
  AddServingFlags(app, options, text);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    out << app.help();
    return 0;
  } catch (const CLI::CallForVersion& version) {
    out << version.what() << '\n';
    return 0;
  } catch (const CLI::ParseError& error) {
    err << "tessera-server: " << error.what() << " (--help lists all flags)\n";
    return 2;
  }
  absl::Status status = CheckModelGiven(options);
  if (status.ok()) status = CheckServedNames(options);
  if (status.ok()) status = ReadTextFlags(text, options);
  if (status.ok()) status = CheckDeviceFlags(options);
  if (status.ok()) status = CheckTileCache(options);
  if (!status.ok()) {
    err << "tessera-server: " << StatusMessage(status) << " (--help lists all flags)\n";
    return 2;
  }
  return options;
}

}  // namespace tessera
