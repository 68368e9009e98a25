#include "engine/load/loaded_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "engine/backend/sample.h"
#include "engine/base/presence.h"
#include "engine/base/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/read_ahead.h"
#include "engine/load/generation_config.h"
#include "engine/load/model_name.h"
#include "engine/model/arch/architectures.h"
#include "engine/prompt/chat_template.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxNamedTensors = 5;

// Those that `fields` names; none: it names none.
absl::StatusOr<std::vector<int32_t>> EosIdsOf(JsonFields& fields, int64_t vocabulary) {
  std::vector<int64_t> ids;
  if (!fields.Has("eos_token_id")) return std::vector<int32_t>();
  if (fields.object()["eos_token_id"].is_array()) {
    ids = fields.Ints("eos_token_id", 0, vocabulary - 1);
  } else {
    ids.push_back(fields.Int("eos_token_id", 0, vocabulary - 1));
  }
  RETURN_IF_ERROR(fields.status());
  return std::vector<int32_t>(ids.begin(), ids.end());
}

// End tokens: generation_config.json's, else config.json's or its text_config's, else the
// tokenizer's.
absl::StatusOr<std::vector<int32_t>> ReadEosIds(const fs::path& dir, const Tokenizer& tokenizer) {
  for (const char* file : {"generation_config.json", "config.json"}) {
    ASSIGN_OR_RETURN(const bool there, IsThere(dir / file));
    if (!there) continue;
    ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonFile(dir / file));
    JsonFields fields(json, (dir / file).string());
    ASSIGN_OR_RETURN(std::vector<int32_t> ids, EosIdsOf(fields, tokenizer.vocabulary()));
    if (ids.empty() && fields.Has("text_config")) {
      JsonFields text = fields.Object("text_config");
      ASSIGN_OR_RETURN(ids, EosIdsOf(text, tokenizer.vocabulary()));
    }
    if (!ids.empty()) return ids;
  }
  if (tokenizer.eos()) return std::vector<int32_t>{*tokenizer.eos()};
  return absl::InvalidArgumentError(fmt::format(
      "{}: neither generation_config.json, config.json nor the tokenizer names an end token",
      dir.string()));
}

// Parameters of the language model that one token uses: all but the experts it is not routed to.
int64_t ActiveParameters(const DecoderSpec& decoder, int64_t total) {
  const int64_t matrices = decoder.gated_ffn ? 3 : 2;
  const int64_t ffn = decoder.ffn_of_experts();
  const int64_t biases = decoder.ffn_bias ? ffn * (matrices - 1) + decoder.hidden : 0;
  const int64_t per_expert = decoder.lora ? matrices * decoder.lora->rank * (decoder.hidden + ffn)
                                          : matrices * decoder.hidden * ffn + biases;
  int64_t idle = 0;
  for (const int experts : decoder.experts) {
    if (experts > 0) idle += (experts - decoder.router.experts_per_token) * per_expert;
  }
  return total - idle;
}

void AddWarnings(const std::vector<std::string>& warnings, ModelSpec& spec) {
  spec.warnings.insert(spec.warnings.end(), warnings.begin(), warnings.end());
}

// Tokens that have a row in the head. Like the libraries, this takes a tokenizer that knows more:
// those are never sampled, and a prompt that holds one is refused.
absl::Status FitVocabulary(const fs::path& dir, LoadedModel& model) {
  const int32_t tokens = model.tokenizer->vocabulary();
  const int64_t rows = model.decoder->vocabulary_rows();
  if (std::min<int64_t>(tokens, rows) > kMaxSampled) {
    return absl::InvalidArgumentError(
        fmt::format("{}: a vocabulary of {} tokens; at most {} are served", dir.string(),
                    std::min<int64_t>(tokens, rows), kMaxSampled));
  }
  model.info.vocabulary = static_cast<int32_t>(std::min<int64_t>(tokens, rows));
  if (tokens > rows) {
    model.spec.warnings.push_back(fmt::format(
        "{}: the tokenizer has {} tokens, but \"{}.weight\" only {} rows; those from {} "
        "on are never sampled, and prompts that hold one are refused",
        dir.string(), tokens, model.spec.decoder.names.head, rows, rows));
  }
  return absl::OkStatus();
}

void DescribeModel(const ModelOptions& options, const WeightStore& store,
                   const WeightLoader& loader, int64_t decoder_parameters, LoadedModel& model) {
  const DecoderSpec& decoder = model.spec.decoder;
  ModelInfo& info = model.info;
  if (options.served_names.empty()) {
    info.name = DefaultModelName(options.model_dir);
  } else {
    info.name = options.served_names[0];
    info.other_names.assign(options.served_names.begin() + 1, options.served_names.end());
  }
  info.architecture = model.spec.architecture;
  info.dtype = DTypeName(store.activation_dtype());
  info.weight_dtype = store.weight_dtype();
  info.device = store.name();
  info.max_context = model.spec.max_context;
  info.image_tokens = model.spec.image_rows();
  info.parameters = loader.parameters();
  info.active_parameters = ActiveParameters(decoder, decoder_parameters);
  info.weight_bytes = loader.packed_bytes();
  info.layers = decoder.layers;
  info.moe_layers = decoder.moe_layers();
  info.experts = decoder.max_experts();
  info.experts_per_token = info.experts > 0 ? decoder.router.experts_per_token : 0;
  info.takes_images = model.spec.vision.has_value();
  info.image_mode = model.spec.image_mode;
  info.eos_ids = model.eos_ids;
  info.warnings = model.warnings;
}

std::string NameSome(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min(kMaxNamedTensors, names.size()); ++i) {
    text += (i == 0 ? "" : ", ") + names[i];
  }
  return names.size() > kMaxNamedTensors
             ? text + fmt::format(" and {} more", names.size() - kMaxNamedTensors)
             : text;
}

}  // namespace

ImageFormat LoadedModel::image_format() const {
  ImageFormat format;
  format.processor = spec.image_processor;
  format.mode = spec.image_mode;
  format.upright = spec.upright_images;
  if (spec.vision) {
    format.taken = true;
    format.native = spec.vision->native;
    format.patch_size = spec.vision->patch_size;
    format.scales = spec.vision->scales;
    format.rows = spec.image_rows();
    format.token = spec.image_token;
  }
  return format;
}

absl::StatusOr<std::unique_ptr<LoadedModel>> LoadModel(
    const ModelStores& stores, const ModelOptions& options,
    const std::function<void(int64_t, int64_t)>& progress, HeaderCheck* headers) {
  auto model = std::make_unique<LoadedModel>();
  const fs::path& dir = options.model_dir;
  ASSIGN_OR_RETURN(model->spec, ReadModelSpec({dir, options.vision_tower_dir, options.base_dir}));
  if (model->spec.decoder.capacity && !options.emulate_capacity) {
    model->spec.warnings.push_back(fmt::format(
        "eval_capacity_factor {} would drop tokens in the reference; served without dropping",
        model->spec.decoder.capacity->factor));
    model->spec.decoder.capacity.reset();
  }
  const fs::path& text_dir = model->spec.tokenizer_dir.empty() ? dir : model->spec.tokenizer_dir;
  ASSIGN_OR_RETURN(model->tokenizer, Tokenizer::Load(text_dir, model->spec.tokenizer_class));
  ASSIGN_OR_RETURN(model->eos_ids, ReadEosIds(text_dir, *model->tokenizer));
  GenerationDefaults defaults;
  defaults.repetition_penalty = model->spec.repetition.penalty;
  ASSIGN_OR_RETURN(
      model->info.default_sampling,
      ReadGenerationDefaults(text_dir / "generation_config.json", defaults, model->spec.warnings));
  if (const auto token = model->spec.image_token;
      token && model->tokenizer->TokenBytes(*token).empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: the tokenizer has no token {}, which stands for images in config.json",
                    text_dir.string(), *token));
  }
  AddWarnings(CheckChatTemplates(dir, model->spec.prompt_format), model->spec);
  if (text_dir != dir) {
    AddWarnings(CheckChatTemplates(text_dir, model->spec.prompt_format), model->spec);
  }
  const std::string separator(TemplateOf(model->spec.prompt_format).assistant.after);
  if (model->spec.stops_at_turn_end && !separator.empty()) model->stop_strings.push_back(separator);

  std::vector<CheckpointPart> parts = model->spec.parts;
  if (parts.empty()) parts.push_back({dir});
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(parts));
  std::optional<ReadAhead> read_ahead;
  if (headers == nullptr) read_ahead.emplace(checkpoint->files());
  const auto loaded = [&](int64_t done, int64_t total) {
    if (read_ahead) read_ahead->Used(done);
    if (progress) progress(done, total);
  };
  WeightLoader loader(stores.decoder, *checkpoint, loaded, headers);
  ASSIGN_OR_RETURN(model->decoder, Decoder::Load(model->spec.decoder, model->spec.max_context,
                                                 options.router, loader));
  const int64_t decoder_parameters = loader.parameters();
  if (model->spec.vision) {
    loader.set_store(stores.vision);
    auto vision = VisionEncoder::Load(model->spec, loader);
    if (absl::IsNotFound(vision.status())) {
      return Annotate(vision.status(),
                      "a vision tower that lies apart is named with --vision-tower");
    }
    ASSIGN_OR_RETURN(model->vision, std::move(vision));
  }
  RETURN_IF_ERROR(FitVocabulary(dir, *model));
  RETURN_IF_ERROR(checkpoint->CheckUnchanged());
  AddWarnings(checkpoint->warnings(), model->spec);
  model->warnings = model->spec.warnings;
  model->unused_tensors = checkpoint->Unused();
  if (!model->unused_tensors.empty()) {
    model->warnings.push_back(fmt::format("{} tensors are not used: {}",
                                          model->unused_tensors.size(),
                                          NameSome(model->unused_tensors)));
  }
  DescribeModel(options, stores.decoder, loader, decoder_parameters, *model);
  return model;
}

}  // namespace tessera
