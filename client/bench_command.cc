// `tessera bench`: puts load on a server and says how it bore it.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <limits>
#include <memory>

#include "client/bench_report.h"
#include "client/bench_run.h"
#include "client/bench_workload.h"
#include "client/client.h"
#include "client/commands.h"
#include "client/file.h"
#include "client/flags.h"
#include "client/interrupt.h"

namespace tessera {
namespace {

constexpr int kDefaultConcurrency = 8;
constexpr int kDefaultRequests = 100;

struct BenchFlags {
  ConnectionFlags connection;
  WorkloadOptions workload;
  LoadOptions load;
  std::vector<std::string> image_paths;
  int requests = 0;
  int concurrency = 0;
  int warmup = 0;
  Objectives objectives;
  std::string json_file;
};

// What the flags mean together.
absl::Status Complete(BenchFlags* flags) {
  for (const std::string& path : flags->image_paths) {
    absl::StatusOr<v1::Image> image = LoadImage(path);
    if (!image.ok()) return image.status();
    flags->workload.images.push_back(*std::move(image));
  }
  const bool timed = flags->load.duration != absl::InfiniteDuration();
  flags->load.requests = flags->requests > 0 ? flags->requests
                         : timed             ? std::numeric_limits<int>::max()
                                             : kDefaultRequests;
  const bool open = flags->load.rate > 0;
  flags->load.concurrency = flags->concurrency > 0 ? flags->concurrency
                            : open                 ? 0
                                                   : kDefaultConcurrency;
  flags->load.timeout = flags->connection.timeout;
  if (flags->workload.cancel_share + flags->workload.deadline_share > 1) {
    return absl::InvalidArgumentError(
        "--cancel-share and --deadline-share are more than 1 together");
  }
  return absl::OkStatus();
}

// Undisturbed requests that are not measured; their first failure, since measuring would then be in
// vain.
absl::Status WarmUp(Client& client, const BenchFlags& flags, const std::stop_token& stop) {
  WorkloadOptions options = flags.workload;
  options.cancel_share = options.deadline_share = 0;
  options.seed = ~flags.workload.seed;
  Workload workload(options);
  ProgressBar silent(false);
  const LoadResult result = RunLoad(
      client, workload, {.requests = flags.warmup, .timeout = flags.load.timeout}, stop, silent);
  for (const Outcome& outcome : result.outcomes) {
    if (outcome.code != absl::StatusCode::kOk) return absl::Status(outcome.code, outcome.error);
  }
  return absl::OkStatus();
}

ExitCode Judge(const LoadResult& result, const Counts& counts) {
  if (counts.lost > 0 || counts.out_of_order > 0) return ExitCode::kServerError;
  if (counts.completed > 0 || result.outcomes.empty()) return ExitCode::kOk;
  return ExitCodeOf(absl::Status(result.outcomes.front().code, ""));
}

ExitCode Measure(Client& client, const BenchFlags& flags, const StopOnInterrupt& interrupt) {
  if (absl::Status status = WarmUp(client, flags, interrupt.token()); !status.ok()) {
    return FailCall(status, interrupt.token());
  }
  Workload workload(flags.workload);
  ProgressBar progress(IsTerminal(STDERR_FILENO));
  const LoadResult result = RunLoad(client, workload, flags.load, interrupt.token(), progress);
  progress.Clear();
  const BenchReport report = Summarize(result, flags.objectives);
  if (flags.json_file != "-") std::fputs(ReportTable(report).c_str(), stdout);
  if (flags.json_file == "-") {
    std::fputs(Print(ReportJson(report)).c_str(), stdout);
  } else if (!flags.json_file.empty()) {
    if (absl::Status status = WriteFile(flags.json_file, Print(ReportJson(report))); !status.ok()) {
      return FailUsage(status);
    }
  }
  return interrupt.interrupted() ? ExitCode::kInterrupted : Judge(result, report.counts);
}

ExitCode RunBench(BenchFlags& flags) {
  if (absl::Status status = Complete(&flags); !status.ok()) return FailUsage(status);
  const Interrupts interrupts;
  // A retry would hide what is measured.
  const absl::StatusOr<std::unique_ptr<Client>> client =
      Client::Connect(flags.connection.address, {.max_attempts = 1});
  if (!client.ok()) return FailUsage(client.status());
  const StopOnInterrupt interrupt(interrupts);
  return Measure(**client, flags, interrupt);
}

void AddWorkloadFlags(CLI::App& app, BenchFlags* flags) {
  WorkloadOptions& workload = flags->workload;
  v1::SamplingParams* sampling = workload.base.mutable_sampling();
  sampling->set_max_tokens(128);
  sampling->set_temperature(0);
  const CLI::Range share(0.0, 1.0);
  app.add_option_function<std::string>(
         "--model", [&workload](const std::string& name) { workload.base.set_model(name); },
         "A served model's name")
      ->check(IsUtf8);
  app.add_option("--prompt", workload.prompt, "The question of every request")->check(IsUtf8);
  app.add_option("--prompt-tokens", workload.prompt_words, "Without --prompt: so many random words")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--image", flags->image_paths,
                 "Images, one at random for each request that has one");
  app.add_option("--image-share", workload.image_share, "Share of requests with an image")
      ->check(share)
      ->capture_default_str();
  app.add_option_function<int32_t>(
         "--max-tokens", [sampling](int32_t count) { sampling->set_max_tokens(count); },
         "Tokens of an answer at most")
      ->default_str("128");
  app.add_option_function<float>(
      "--temperature", [sampling](float value) { sampling->set_temperature(value); },
      "0 is greedy, the default");
  app.add_flag_callback(
      "--ignore-eos", [sampling] { sampling->set_ignore_eos(true); },
      "Every answer has --max-tokens tokens");
  app.add_option("--cancel-share", workload.cancel_share,
                 "Share of requests cancelled at a random moment")
      ->check(share);
  app.add_option("--deadline-share", workload.deadline_share,
                 "Share of requests with a random deadline up to 2 s")
      ->check(share);
  app.add_option("--seed", workload.seed, "Of prompts, images, arrivals, cancels")
      ->capture_default_str();
}

void AddLoadFlags(CLI::App& app, BenchFlags* flags) {
  app.add_option("--concurrency", flags->concurrency,
                 "Requests in flight at most; default 8, with --rate no limit")
      ->check(CLI::PositiveNumber);
  app.add_option("--rate", flags->load.rate, "Open loop: requests per second, Poisson arrivals")
      ->check(CLI::PositiveNumber);
  app.add_option("--requests", flags->requests,
                 "Requests at most; default 100, with --duration no limit")
      ->check(CLI::PositiveNumber);
  app.add_option("--warmup", flags->warmup, "Requests before, not measured")
      ->check(CLI::NonNegativeNumber);
  app.add_option_function<std::string>(
      "--duration",
      [flags](const std::string& text) {
        const absl::StatusOr<absl::Duration> duration = ParseTimeout(text);
        if (!duration.ok())
          throw CLI::ValidationError("--duration", std::string(duration.status().message()));
        flags->load.duration = *duration;
      },
      "No request starts later than this, such as 60s");
  app.add_option_function<std::string>(
      "--goodput",
      [flags](const std::string& text) {
        const absl::StatusOr<Objectives> objectives = ParseObjectives(text);
        if (!objectives.ok())
          throw CLI::ValidationError("--goodput", std::string(objectives.status().message()));
        flags->objectives = *objectives;
      },
      "Objectives in milliseconds, such as ttft:500,itl:50 (ttft, tpot, itl, e2el)");
  app.add_option("--json", flags->json_file,
                 "Write the figures to this file; -: to standard output");
}

}  // namespace

void AddBenchCommand(CLI::App& app, ExitCode* exit_code) {
  const auto flags = std::make_shared<BenchFlags>();
  CLI::App* command = app.add_subcommand("bench", "Measures a server under load");
  AddLoadFlags(*command, flags.get());
  AddWorkloadFlags(*command, flags.get());
  AddConnectionFlags(*command, absl::Minutes(10), &flags->connection);
  command->callback([flags, exit_code] { *exit_code = RunBench(*flags); });
}

}  // namespace tessera
