#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/base/status.h"
#include "engine/load/loaded_model.h"
#include "engine/step/batch_builder.h"
#include "tests/golden_runner/checks.h"

namespace tessera::golden {
namespace {

constexpr double kPixelTolerance = 1e-6;   // absolute
constexpr double kTensorTolerance = 2e-5;  // relative L2, float32
constexpr int32_t kBlockSize = 16;

// A model on a backend of its own.
struct RunningModel {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<LoadedModel> model;
};

absl::StatusOr<RunningModel> Start(const ModelCase& golden, DType dtype) {
  RunningModel running;
  ASSIGN_OR_RETURN(running.backend, golden.make_backend(dtype));
  ASSIGN_OR_RETURN(running.model, LoadModel(*running.backend, golden.options, nullptr));
  return running;
}

double RelativeError(const std::vector<float>& got, const std::vector<float>& want) {
  if (got.size() != want.size()) return INFINITY;
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(static_cast<double>(got[i]) - want[i], 2);
    norm += std::pow(static_cast<double>(want[i]), 2);
  }
  return std::sqrt(difference / std::max(norm, 1e-300));
}

// Logits of the vocabulary's rows that the case has: all of the head's, or those in use.
double LogitsError(std::vector<float> got, const std::vector<float>& want) {
  if (got.size() > want.size()) got.resize(want.size());
  return RelativeError(got, want);
}

double LargestError(const std::vector<float>& got, const std::vector<float>& want) {
  if (got.size() != want.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(got[i]) - want[i]));
  }
  return largest;
}

// The whole prompt in one pass, as the reference runs it.
struct FirstStep {
  std::vector<std::vector<float>> features;  // of all images, then of each tap
  std::vector<float> positions;              // [axes, T]
  std::vector<float> logits;                 // of all rows of the head
  Trace trace;
};

absl::StatusOr<FirstStep> RunPrompt(RunningModel& running, const Request& request) {
  LoadedModel& model = *running.model;
  Backend& backend = *running.backend;
  const Preparer preparer(*model.tokenizer, model.spec.prompt_format, model.image_format(),
                          {64, {}, 1 << 20});
  ASSIGN_OR_RETURN(PreparedPrompt prompt, preparer.Prepare(request));
  FirstStep step;

  Sequence sequence;
  std::vector<ImageFeaturesPtr> encoded;
  sequence.tokens = prompt.rows;
  sequence.prompt = std::move(prompt);
  if (!sequence.prompt.images.empty()) {
    std::vector<const PreparedImage*> images;
    for (const auto& image : sequence.prompt.images) images.push_back(image.get());
    ASSIGN_OR_RETURN(VisionBatch work, model.vision->Begin(backend, images));
    RETURN_IF_ERROR(model.vision->Advance(backend, work, INFINITY).status());
    ASSIGN_OR_RETURN(std::unique_ptr<Buffer> rows, model.vision->Finish(backend, work));
    const int taps = model.vision->taps();
    const auto level_rows = static_cast<int32_t>(rows->tensor().rows() / (1 + taps));
    for (int level = 0; level <= taps; ++level) {
      step.features.push_back(
          backend.DownloadFloats(rows->tensor().Rows(level * level_rows, level_rows)));
    }
    const std::shared_ptr<Buffer> features = std::move(rows);
    int32_t first = 0;
    for (const auto& image : sequence.prompt.images) {
      auto its = std::make_shared<ImageFeatures>();
      its->features = features;
      its->first_row = first;
      its->rows = image->rows;
      its->taps = taps;
      its->level_rows = level_rows;
      first += image->rows;
      encoded.push_back(std::move(its));
    }
    backend.ResetArena();
  }
  const int32_t rows = sequence.prompt_rows();
  const int32_t blocks = (rows + kBlockSize - 1) / kBlockSize;
  for (BlockId block = 0; block < blocks; ++block) sequence.blocks.push_back(block);
  ASSIGN_OR_RETURN(const std::unique_ptr<KvCache> cache,
                   KvCache::Allocate(backend, model.spec.decoder, blocks, kBlockSize));
  StepPlan plan;
  plan.rows.push_back({&sequence, 0, rows, true});
  const SequenceInput input{encoded};
  const BuiltBatch built =
      BuildBatch(plan, std::span(&input, 1), kBlockSize, model.spec.decoder.position_axes(), false);
  step.positions.assign(built.batch.positions.begin(), built.batch.positions.end());
  const DecoderOutput output = model.decoder->Forward(backend, built.batch, *cache, &step.trace);
  step.logits = backend.DownloadFloats(output.logits);
  backend.ResetArena();
  return step;
}

std::vector<float> Joined(const std::vector<std::vector<float>>& parts) {
  std::vector<float> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

absl::StatusOr<std::vector<float>> Pixels(const LoadedModel& model, const Preparer& preparer,
                                          const Request& request) {
  std::vector<float> pixels;
  if (model.spec.vision && model.spec.vision->native) {  // as patches
    ASSIGN_OR_RETURN(const PreparedPrompt prompt, preparer.Prepare(request));
    for (const auto& image : prompt.images) {
      pixels.insert(pixels.end(), image->patches.begin(), image->patches.end());
    }
    return pixels;
  }
  for (const PlacedImage& placed : ImagesOf(request.input)) {
    ASSIGN_OR_RETURN(const Image image, DecodeImage(placed.image->bytes, "", {}));
    const ImageProcessor& processor = model.spec.image_processor;
    const ImageMode mode =
        request.image_mode == ImageMode::kCrop ? processor.unpadded : *request.image_mode;
    const std::vector<float> one = NormalizeImage(FitImage(image, processor, mode), processor);
    pixels.insert(pixels.end(), one.begin(), one.end());
  }
  return pixels;
}

void CheckInput(const ModelCase& golden, const GoldenRequest& request, const LoadedModel& model,
                Report& report) {
  const std::string what = fmt::format("{}/{}", golden.name, request.name);
  if (!request.messages.empty()) {
    const auto built =
        BuildPrompt(TemplateOf(model.spec.prompt_format), request.messages, SpecialTokens::kText);
    const std::optional<int32_t> token = model.spec.image_token;
    const std::string prompt =
        !built.ok() ? ""
        : token     ? PromptText(*built, std::string(model.tokenizer->TokenBytes(*token)))
                    : PromptText(*built);
    report.Add(prompt == request.prompt, what + " prompt");
  }
  const Preparer preparer(*model.tokenizer, model.spec.prompt_format, model.image_format(),
                          {64, {}, 1 << 20});
  const auto prompt = preparer.Plan(request.request);
  report.Add(prompt.ok() && prompt->prompt.ids == request.input_ids, what + " input_ids",
             prompt.ok() ? "" : std::string(StatusMessage(prompt.status())));
  const std::vector<float> expected = golden.Expected(request, "pixels");
  if (expected.empty()) return;
  const auto pixels = Pixels(model, preparer, request.request);
  const double error = pixels.ok() ? LargestError(*pixels, expected) : INFINITY;
  report.Add(error <= kPixelTolerance, what + " pixels", fmt::format("{:.1e} absolute", error));
}

// How far first-step logits in `dtype` are from the official ones in float32, for requests that the
// official code also ran in bfloat16.
void MeasureDType(const ModelCase& golden, DType dtype, std::vector<double>& costs,
                  Report& report) {
  const auto measured = [&](const GoldenRequest& request) {
    return !golden.Expected(request, "logits_bf16").empty();
  };
  if (std::none_of(golden.requests.begin(), golden.requests.end(), measured)) return;
  auto running = Start(golden, dtype);
  if (!running.ok()) {
    report.Fail(fmt::format("{} load {}", golden.name, DTypeName(dtype)),
                std::string(StatusMessage(running.status())));
    return;
  }
  for (const GoldenRequest& request : golden.requests) {
    if (!measured(request)) continue;
    const auto step = RunPrompt(*running, request.request);
    if (!step.ok()) {
      report.Fail(fmt::format("{}/{} {}", golden.name, request.name, DTypeName(dtype)),
                  std::string(StatusMessage(step.status())));
      continue;
    }
    costs.push_back(LogitsError(step->logits, golden.Expected(request, "logits")));
    fmt::print("note {}/{} logits in {}: {:.1e} from float32\n", golden.name, request.name,
               DTypeName(dtype), costs.back());
  }
}

}  // namespace

void CheckTensors(const ModelCase& golden, Report& report) {
  auto running = Start(golden, DType::kFloat32);
  if (!running.ok()) {
    report.Fail(golden.name + " load", std::string(StatusMessage(running.status())));
    return;
  }
  for (const GoldenRequest& request : golden.requests) {
    CheckInput(golden, request, *running->model, report);
    const std::string what = fmt::format("{}/{}", golden.name, request.name);
    const auto step = RunPrompt(*running, request.request);
    if (!step.ok()) {
      report.Fail(what + " forward", std::string(StatusMessage(step.status())));
      continue;
    }
    const auto check = [&](const std::string& tensor, const std::vector<float>& got) {
      const std::vector<float> want = golden.Expected(request, tensor);
      if (want.empty()) return;
      const double error = RelativeError(got, want);
      report.Add(error <= kTensorTolerance, fmt::format("{} {}", what, tensor),
                 fmt::format("{:.1e}", error));
    };
    for (size_t level = 0; level < step->features.size(); ++level) {
      check(level == 0 ? "image_features" : fmt::format("deepstack_{}", level - 1),
            step->features[level]);
    }
    check("positions", step->positions);
    check("hidden", Joined(step->trace.hidden));
    check("router_logits", Joined(step->trace.router_logits));
    const std::vector<float> want = golden.Expected(request, "logits");
    const double error = LogitsError(step->logits, want);
    report.Add(!want.empty() && error <= kTensorTolerance, what + " logits",
               fmt::format("{:.1e}", error));
  }
}

void MeasureRounding(const ModelCase& golden, RoundingCost& cost, Report& report) {
  for (const GoldenRequest& request : golden.requests) {
    const std::vector<float> official = golden.Expected(request, "logits_bf16");
    if (official.empty()) continue;
    cost.official.push_back(RelativeError(official, golden.Expected(request, "logits")));
  }
  if (golden.make_backend(DType::kBFloat16).ok())
    MeasureDType(golden, DType::kBFloat16, cost.bfloat16, report);
  MeasureDType(golden, DType::kFloat16, cost.float16, report);
}

}  // namespace tessera::golden
