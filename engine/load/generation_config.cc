#include "engine/load/generation_config.h"

#include <fmt/format.h>

#include "engine/api/sampling_range.h"
#include "engine/base/json_file.h"
#include "engine/base/presence.h"
#include "engine/base/status.h"
#include "engine/model/unused_keys.h"

namespace tessera {
namespace {

// transformers' temperature where a file asks for sampling and names none.
constexpr float kSamplingTemperature = 1;

float Number(JsonFields& fields, const SamplingRange& range, float otherwise) {
  if (!fields.Has(range.field)) return otherwise;
  const nlohmann::json& value = fields.object()[range.field];
  const bool holds =
      value.is_number() && range.Holds(value.get<double>()) &&
      range.Holds(static_cast<float>(value.get<double>()));  // not rounded to an end that is open
  if (holds) return static_cast<float>(value.get<double>());
  fields.Refuse(range.field, fmt::format("must be a number in {}", range.Interval()));
  return otherwise;
}

template <typename Value>
void SetIfUnset(std::optional<Value>& field, Value value) {
  if (!field) field = value;
}

}  // namespace

absl::StatusOr<GenerationDefaults> ReadGenerationDefaults(const std::filesystem::path& file,
                                                          const GenerationDefaults& otherwise,
                                                          std::vector<std::string>& warnings) {
  ASSIGN_OR_RETURN(const bool there, IsThere(file));
  if (!there) return otherwise;
  ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonFile(file));
  JsonFields fields(json, file.string());
  GenerationDefaults defaults = otherwise;
  const float temperature = Number(fields, kTemperatureRange, kSamplingTemperature);
  if (fields.BoolOr("do_sample", false)) defaults.temperature = temperature;
  defaults.top_k = static_cast<int32_t>(fields.IntOr(kTopKRange.field, otherwise.top_k,
                                                     static_cast<int64_t>(kTopKRange.low),
                                                     static_cast<int64_t>(kTopKRange.high)));
  defaults.top_p = Number(fields, kTopPRange, otherwise.top_p);
  defaults.min_p = Number(fields, kMinPRange, otherwise.min_p);
  defaults.repetition_penalty =
      Number(fields, kRepetitionPenaltyRange, otherwise.repetition_penalty);
  RETURN_IF_ERROR(fields.status());
  WarnOfUnread(fields, UnusedGenerationKeys(), "", warnings);
  return defaults;
}

void ApplyDefaults(const GenerationDefaults& defaults, SamplingParams& params) {
  SetIfUnset(params.temperature, defaults.temperature);
  SetIfUnset(params.top_k, defaults.top_k);
  SetIfUnset(params.top_p, defaults.top_p);
  SetIfUnset(params.min_p, defaults.min_p);
  SetIfUnset(params.repetition_penalty, defaults.repetition_penalty);
}

}  // namespace tessera
