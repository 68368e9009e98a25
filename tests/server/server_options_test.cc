#include "server/server_options.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <string>
#include <variant>
#include <vector>

namespace tessera {
namespace {

using std::chrono::seconds;

// The parser's result and what it wrote.
struct Parsed {
  std::variant<ServerOptions, int> result;
  std::string out;
  std::string err;

  bool ok() const { return std::holds_alternative<ServerOptions>(result); }
  const ServerOptions& options() const { return std::get<ServerOptions>(result); }
  int exit_code() const { return std::get<int>(result); }
};

Parsed Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "tessera-server");
  std::ostringstream out;
  std::ostringstream err;
  auto result = ParseCommandLine(static_cast<int>(arguments.size()), arguments.data(), out, err);
  return {std::move(result), out.str(), err.str()};
}

TEST(ServerOptionsTest, NeedsOnlyAModel) {
  const Parsed parsed = Parse({"--model", "/"});
  ASSERT_TRUE(parsed.ok()) << parsed.err;
  EXPECT_EQ(ToString(parsed.options().grpc), "127.0.0.1:50051");
  EXPECT_EQ(ToString(parsed.options().http), "127.0.0.1:8080");
  EXPECT_EQ(parsed.options().device, DeviceChoice::kAuto);
  EXPECT_EQ(parsed.options().weights, WeightFormat::kActivations);
  EXPECT_EQ(parsed.options().drain_timeout, seconds(30));
  EXPECT_EQ(parsed.options().engine.max_running, EngineOptions().max_running);
  EXPECT_EQ(parsed.options().engine.max_image_tokens, 4096);
  EXPECT_FALSE(parsed.options().engine.routing_telemetry.has_value());
  EXPECT_FALSE(parsed.options().tile_cache.has_value());
  EXPECT_EQ(parsed.options().log_format, LogFormat::kText);
  EXPECT_EQ(parsed.options().connections.max_connections, 0);
  EXPECT_EQ(parsed.options().connections.max_connections_per_address, 0);
}

TEST(ServerOptionsTest, PortsOfTwoHostsMayHaveOneNumber) {
  EXPECT_TRUE(
      Parse({"--model", "/", "--listen", "127.0.0.1:9", "--http-listen", "127.0.0.2:9"}).ok());
  EXPECT_TRUE(
      Parse({"--model", "/", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"}).ok());
}

TEST(ServerOptionsTest, AModelHasSeveralNames) {
  const Parsed parsed =
      Parse({"--served-model-name", "org/name", "--model", "/", "--served-model-name=other",
             "--served-model-name", "mein Modell ü"});
  ASSERT_TRUE(parsed.ok()) << parsed.err;
  EXPECT_EQ(parsed.options().model.served_names,
            (std::vector<std::string>{"org/name", "other", "mein Modell ü"}));
  EXPECT_TRUE(Parse({"--model", "/"}).options().model.served_names.empty());
  for (const char* name : {"", "a\nb", "\xff"}) {
    const Parsed refused = Parse({"--model", "/", "--served-model-name", name});
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.exit_code(), 2);
    EXPECT_NE(refused.err.find("--served-model-name"), std::string::npos) << refused.err;
  }
}

TEST(ServerOptionsTest, ADirectoryThatCannotBeReadSaysWhy) {
  EXPECT_NE(Parse({"--model", "/no/such"}).err.find("/no/such: is not there"), std::string::npos);
  EXPECT_NE(Parse({"--model", "/dev/null"}).err.find("is no directory"), std::string::npos);
  const auto loop =
      std::filesystem::temp_directory_path() / fmt::format("tessera_loop_{}", getpid());
  std::filesystem::create_symlink(loop, loop);
  for (const char* flag : {"--base", "--vision-tower"}) {
    const Parsed parsed = Parse({"--model", "/", flag, loop.c_str()});
    EXPECT_NE(parsed.err.find("Too many levels of symbolic links"), std::string::npos)
        << parsed.err;
  }
  EXPECT_NE(Parse({"--model", loop.c_str()}).err.find("symbolic links"), std::string::npos);
  std::filesystem::remove(loop);
}

TEST(ServerOptionsTest, TakesEveryFlag) {
  const Parsed parsed = Parse({"--model=/",
                               "--vision-tower=/",
                               "--base=/",
                               "--listen=[::1]:0",
                               "--http-listen=localhost:9",
                               "--device=cpu",
                               "--dtype=float16",
                               "--router=gumbel",
                               "--drain-timeout=1m30s",
                               "--max-waiting=7",
                               "--max-running=3",
                               "--kv-cache-mib=64",
                               "--step-tokens=99",
                               "--max-context=77",
                               "--max-image-tokens=0",
                               "--threads=2",
                               "--log-level=debug",
                               "--log-format=json",
                               "--emulate-capacity",
                               "--routing-telemetry=layer",
                               "--max-connections=9",
                               "--max-connections-per-address=8"});
  ASSERT_TRUE(parsed.ok()) << parsed.err;
  const ServerOptions& options = parsed.options();
  EXPECT_EQ(options.model.model_dir, "/");
  EXPECT_EQ(options.model.vision_tower_dir, "/");
  EXPECT_EQ(options.model.base_dir, "/");
  EXPECT_EQ(options.model.router, RouterMode::kGumbel);
  EXPECT_TRUE(options.model.emulate_capacity);
  EXPECT_EQ(ToString(options.grpc), "[::1]:0");
  EXPECT_EQ(ToString(options.http), "localhost:9");
  EXPECT_EQ(options.device, DeviceChoice::kCpu);
  EXPECT_EQ(options.dtype, DTypeChoice::kFloat16);
  EXPECT_EQ(options.drain_timeout, seconds(90));
  EXPECT_EQ(options.engine.max_waiting, 7);
  EXPECT_EQ(options.connections.max_connections, 9);
  EXPECT_EQ(options.connections.max_connections_per_address, 8);
  EXPECT_EQ(options.engine.max_running, 3);
  EXPECT_EQ(options.engine.kv_cache_bytes, int64_t{64} << 20);
  EXPECT_EQ(options.engine.step_tokens, 99);
  EXPECT_EQ(options.engine.max_context, 77);
  EXPECT_EQ(options.engine.max_image_tokens, 0);
  EXPECT_EQ(options.engine.routing_telemetry, RoutingTelemetry::kLayer);
  EXPECT_EQ(options.threads, 2);
  EXPECT_EQ(options.log_level, "debug");
  EXPECT_EQ(options.log_format, LogFormat::kJson);
}

TEST(ServerOptionsTest, ListingDevicesNeedsNoModel) {
  const Parsed parsed = Parse({"--list-devices"});
  ASSERT_TRUE(parsed.ok()) << parsed.err;
  EXPECT_TRUE(parsed.options().list_devices);
  EXPECT_EQ(Parse({}).err, "tessera-server: --model is required (--help lists all flags)\n");
  const std::string list = ListDevices();
  EXPECT_TRUE(list.starts_with("cpu: ")) << list;
  EXPECT_NE(list.find("\ncuda: "), std::string::npos) << list;
}

TEST(ServerOptionsTest, TakesQuantisedWeightsOnTheGpu) {
  const Parsed fp8 = Parse({"--model=/", "--device=cuda", "--weights=fp8"});
  ASSERT_TRUE(fp8.ok()) << fp8.err;
  EXPECT_EQ(fp8.options().weights, WeightFormat::kFloat8);
  const Parsed int8 = Parse({"--model=/", "--device=cuda", "--dtype=float16", "--weights=int8"});
  ASSERT_TRUE(int8.ok()) << int8.err;
  EXPECT_EQ(int8.options().weights, WeightFormat::kInt8);
  const Parsed int4 = Parse({"--model=/", "--device=cuda", "--weights=int4"});
  ASSERT_TRUE(int4.ok()) << int4.err;
  EXPECT_EQ(int4.options().weights, WeightFormat::kInt4);
  const Parsed w8a8 = Parse({"--model=/", "--device=cuda", "--weights=fp8-w8a8"});
  ASSERT_TRUE(w8a8.ok()) << w8a8.err;
  EXPECT_EQ(w8a8.options().weights, WeightFormat::kFloat8W8A8);
}

TEST(ServerOptionsTest, TakesAnEightBitKvCacheOnTheGpu) {
  EXPECT_FALSE(Parse({"--model=/", "--device=cuda"}).options().engine.kv_dtype.has_value());
  const Parsed parsed = Parse({"--model=/", "--device=cuda", "--dtype=float16", "--kv-dtype=fp8"});
  ASSERT_TRUE(parsed.ok()) << parsed.err;
  EXPECT_EQ(parsed.options().engine.kv_dtype, DType::kFloat8);
}

TEST(ServerOptionsTest, TakesTheDirectoryOfMeasuredTiles) {
  const Parsed named = Parse({"--model=/", "--tile-cache=/does/not/exist/yet"});
  ASSERT_TRUE(named.ok()) << named.err;
  EXPECT_EQ(named.options().tile_cache, "/does/not/exist/yet");
  const Parsed off = Parse({"--model=/", "--device=cpu", "--tile-cache", ""});
  ASSERT_TRUE(off.ok()) << off.err;
  EXPECT_EQ(off.options().tile_cache, "");
}

TEST(ServerOptionsTest, MistakesEndWithOneLineAnd2) {
  const std::vector<std::pair<std::vector<const char*>, std::string>> cases = {
      {{}, "--model"},
      {{"--model", "/does/not/exist"}, "/does/not/exist"},
      {{"--model", "/", "--listen", "50051"}, "--listen: \"50051\""},
      {{"--model", "/", "--listen", "a:b"}, "a:b"},
      {{"--model", "/", "--listen", "127.0.0.1:70000"}, "70000"},
      {{"--model", "/", "--http-listen", "::1:80"}, "--http-listen: \"::1:80\""},
      {{"--model", "/", "--http-listen", ":80"}, "\":80\""},
      {{"--model", "/", "--device", "tpu"}, "tpu"},
      {{"--model", "/", "--dtype", "float8"},
       "--dtype: \"float8\" is not one of auto, float32, bfloat16, float16"},
      {{"--model", "/", "--device", "cuda", "--weights", "int3"},
       "\"int3\" is not one of fp8, int8, int4, fp8-w8a8"},
      {{"--model", "/", "--weights", "fp8"},
       "--weights fp8 is for the GPU only; add --device cuda"},
      {{"--model", "/", "--device", "cpu", "--weights", "int8"}, "add --device cuda"},
      {{"--model", "/", "--device", "cuda", "--dtype", "float32", "--weights", "int8"},
       "--weights int8 does not go with --dtype float32; use bfloat16 or float16"},
      {{"--model", "/", "--device", "cuda", "--kv-dtype", "int8"},
       "--kv-dtype: \"int8\" is not one of fp8"},
      {{"--model", "/", "--kv-dtype", "fp8"},
       "--kv-dtype fp8 is for the GPU only; add --device cuda or leave it out"},
      {{"--model", "/", "--device", "cpu", "--kv-dtype", "fp8"}, "add --device cuda"},
      {{"--model", "/", "--device", "cuda", "--dtype", "float32", "--kv-dtype", "fp8"},
       "--kv-dtype fp8 does not go with --dtype float32; use bfloat16 or float16"},
      {{"--model", "/", "--tile-cache", "/proc/self/status"},
       "--tile-cache: \"/proc/self/status\" is no directory"},
      {{"--model", "/", "--device", "cpu", "--tile-cache", "/tmp"},
       "--tile-cache is for the GPU only"},
      {{"--model", "/", "--tile-cache"}, "--tile-cache"},
      {{"--model", "/", "--tile-cache=", "--check"}, "--tile-cache: \"--check\" is a flag"},
      {{"--model", "/", "--router", "random"}, "random"},
      {{"--model", "/", "--drain-timeout", "soon"}, "soon"},
      {{"--model", "/", "--drain-timeout", "-1s"}, "-1s"},
      {{"--model", "/", "--routing-telemetry", "token"}, "token"},
      {{"--model", "/", "--max-running", "0"}, "--max-running"},
      {{"--model", "/", "--max-waiting", "x"}, "--max-waiting"},
      {{"--model", "/", "--max-connections", "-1"}, "--max-connections"},
      {{"--model", "/", "--max-connections-per-address", "many"}, "--max-connections-per-address"},
      {{"--model", "/", "--max-image-tokens", "-1"}, "--max-image-tokens"},
      {{"--model", "/", "--kv-cache-mib", "-5"}, "--kv-cache-mib"},
      {{"--model", "/", "--log-level", "loud"}, "loud"},
      {{"--model", "/", "--log-format", "xml"}, "--log-format: \"xml\" is not one of text, json"},
      {{"--model", "/", "--listen", "127.0.0.1:9", "--http-listen", "127.0.0.1:9"},
       "--listen 127.0.0.1:9 and --http-listen 127.0.0.1:9 are the same port"},
      {{"--model", "/", "--listen", "[::]:9", "--http-listen", "127.0.0.1:9"}, "the same port"},
      {{"--model", "/", "--unknown"}, "--unknown"},
  };
  for (const auto& [arguments, told] : cases) {
    const Parsed parsed = Parse(arguments);
    ASSERT_FALSE(parsed.ok()) << told;
    EXPECT_EQ(parsed.exit_code(), 2) << told;
    EXPECT_NE(parsed.err.find(told), std::string::npos) << parsed.err;
    EXPECT_EQ(std::ranges::count(parsed.err, '\n'), 1) << parsed.err;
    EXPECT_TRUE(parsed.out.empty());
  }
}

TEST(ServerOptionsTest, HelpAndVersionEndWith0) {
  const Parsed help = Parse({"--help"});
  ASSERT_FALSE(help.ok());
  EXPECT_EQ(help.exit_code(), 0);
  EXPECT_NE(help.out.find("--drain-timeout"), std::string::npos);
  const Parsed version = Parse({"--version"});
  ASSERT_FALSE(version.ok());
  EXPECT_EQ(version.exit_code(), 0);
  EXPECT_TRUE(version.out.starts_with("tessera-server ")) << version.out;
}

}  // namespace
}  // namespace tessera
