// The command's JSON: keys are the proto's field names, in the proto's order. Bytes that are not
// UTF-8 become U+FFFD.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tessera/v1/generation.pb.h"
#include "tessera/v1/model.pb.h"

namespace tessera {

using Json = nlohmann::ordered_json;

// "stop" or "length".
std::string FinishReasonName(v1::FinishReason reason);

// `logprobs` only when the answer has them.
Json AnswerJson(const v1::GenerateResponse& answer);
Json CountJson(const v1::CountTokensResponse& count);
Json ModelJson(const v1::Model& model);

// Two spaces of indentation, arrays of numbers on one line, a newline at the end.
std::string Print(const Json& json);

}  // namespace tessera
