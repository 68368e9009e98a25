#include "engine/step/step_executor.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/step/batch_builder.h"

namespace tessera {
namespace {

// Blocks for `kv_cache_bytes`, at most as many as `max_running` full contexts could use.
int64_t CountBlocks(const DecoderSpec& decoder, const EngineOptions& options, DType dtype,
                    int32_t max_context) {
  const int64_t block_bytes =
      KvCache::BlockBytes(decoder, options.block_size, options.kv_dtype.value_or(dtype));
  const int64_t per_context = (max_context + options.block_size - 1) / options.block_size;
  const int64_t wanted = options.kv_cache_bytes / block_bytes;
  return std::max<int64_t>(1, std::min(wanted, per_context * options.max_running));
}

std::vector<SequenceInput> InputsOf(const StepPlan& plan, const RequestTable& requests) {
  std::vector<SequenceInput> inputs;
  inputs.reserve(plan.rows.size());
  for (const PlannedRows& rows : plan.rows) {
    const LiveRequest& request = requests.OwnerOf(*rows.sequence);
    inputs.push_back({request.images, request.request.sampling.seed});
  }
  return inputs;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StepExecutor>> StepExecutor::Create(Backend& backend,
                                                                   LoadedModel& model,
                                                                   RouterMode router,
                                                                   const EngineOptions& options,
                                                                   const Telemetry& telemetry) {
  const int64_t blocks =
      CountBlocks(model.spec.decoder, options, backend.activation_dtype(), model.info.max_context);
  ASSIGN_OR_RETURN(
      std::unique_ptr<KvCache> cache,
      KvCache::Allocate(backend, model.spec.decoder, blocks, options.block_size, options.kv_dtype));
  ASSIGN_OR_RETURN(std::unique_ptr<Buffer> sampled,
                   backend.Allocate(DType::kInt32, {options.max_running}));
  return std::unique_ptr<StepExecutor>(new StepExecutor(
      backend, model, router, options.block_size, telemetry, std::move(cache), std::move(sampled)));
}

InFlightStep StepExecutor::Launch(const StepPlan& plan, const RequestTable& requests) {
  BuiltBatch built =
      BuildBatch(plan, InputsOf(plan, requests), block_size_, model_.spec.decoder.position_axes(),
                 router_ == RouterMode::kGumbel);
  built.batch.sampled = sampled_->tensor();
  InFlightStep step;
  step.launched = Clock::now();
  step.decoding_rows = plan.decoding_rows;
  step.prefill_rows = plan.total_rows - plan.decoding_rows;
  step.sampling = std::move(built.sampling);
  step.image_row = std::move(built.image_row);
  step.images = std::move(built.images);
  for (const BlockCopy& copy : plan.copies) cache_->CopyBlock(backend_, copy.from, copy.to);
  const DecoderOutput output = model_.decoder->Forward(backend_, built.batch, *cache_, nullptr);
  if (!output.logits.empty()) StartSampling(output, requests, step);
  if (telemetry_.counts_routing()) StartChoices(output.expert_choices, step);
  if (!step.images.empty()) step.images_read = backend_.StartDownload({});
  backend_.ResetArena();
  return step;
}

void StepExecutor::StartSampling(const DecoderOutput& output, const RequestTable& requests,
                                 InFlightStep& step) {
  std::vector<RowSampling> samplings;
  for (const Ticket ticket : step.sampling) {
    const LiveRequest* request = requests.Find(ticket);
    TESSERA_CHECK(request != nullptr);
    samplings.push_back(SamplingOf(*request));
    step.history_is_read = step.history_is_read || ReadsTokenHistory(request->request.sampling);
  }
  step.tokens.emplace(backend_, output.logits, model_.info.vocabulary, samplings,
                      sampled_->tensor());
}

void StepExecutor::StartChoices(std::span<const Tensor> choices, InFlightStep& step) {
  step.choices.resize(choices.size());
  std::vector<Download> downloads;
  for (size_t i = 0; i < choices.size(); ++i) downloads.emplace_back(choices[i], step.choices[i]);
  step.choices_arrival = backend_.StartDownload(downloads);
}

RowSampling StepExecutor::SamplingOf(const LiveRequest& request) const {
  const Sequence& sequence = request.sequence;
  const SamplingParams& sampling = request.request.sampling;
  TESSERA_CHECK(sequence.unknown == 0 || !ReadsTokenHistory(sampling));
  SamplerInput input{
      model_.info.vocabulary, sequence.tokens, sequence.prompt_rows(), {}, request.end_ids};
  if (model_.spec.repetition.bos_for_prompt) input.prompt_stand_in = model_.tokenizer->bos();
  return ResolveSampling(input, sampling);
}

double StepExecutor::Land(InFlightStep& step) {
  if (step.tokens) step.tokens->Wait();
  if (step.choices_arrival != nullptr) step.choices_arrival->Wait();
  if (step.images_read != nullptr) step.images_read->Wait();
  step.images.clear();
  const Clock::time_point now = Clock::now();
  // The device began when the step was queued or, where it was busy, when it had done the one
  // before.
  return Seconds(now - std::max(step.launched, std::exchange(landed_, now)));
}

double StepExecutor::ForwardBlank(int32_t rows) {
  Batch batch;
  batch.ids.assign(static_cast<size_t>(rows), 0);
  for (int axis = 0; axis < model_.spec.decoder.position_axes(); ++axis) {
    for (int32_t row = 0; row < rows; ++row) batch.positions.push_back(row);
  }
  batch.slots.resize(static_cast<size_t>(rows));
  std::iota(batch.slots.begin(), batch.slots.end(), 0);
  batch.query_starts = {0, rows};
  batch.context_lengths = {rows};
  batch.max_blocks = (rows + block_size_ - 1) / block_size_;
  batch.block_tables.resize(static_cast<size_t>(batch.max_blocks));
  std::iota(batch.block_tables.begin(), batch.block_tables.end(), 0);
  batch.prompt_rows = {rows};
  batch.has_images = {false};
  batch.logit_rows = {rows - 1};
  if (router_ == RouterMode::kGumbel) {
    batch.router_seeds.assign(batch.ids.size(), 0);
    batch.router_rows = batch.slots;
  }
  batch.sampled = sampled_->tensor();
  const Clock::time_point begin = Clock::now();
  const DecoderOutput output = model_.decoder->Forward(backend_, batch, *cache_, nullptr);
  backend_.DownloadFloats(output.logits);
  const double seconds = Seconds(Clock::now() - begin);
  backend_.ResetArena();
  return seconds;
}

}  // namespace tessera
