#include "engine/request/answer.h"

#include "engine/base/status.h"

namespace tessera {

absl::StatusOr<Answer> Answer::Create(const Tokenizer& tokenizer,
                                      const std::vector<std::string>& stops) {
  ASSIGN_OR_RETURN(StopStrings strings, StopStrings::Create(stops));
  return Answer(tokenizer, std::move(strings));
}

Answer::Text Answer::Push(int32_t id, bool may_stop) {
  std::string text = detokenizer_.Push(id);
  if (!may_stop) return {std::move(text), false};
  StopStrings::Result result = stops_.Push(text);
  return {std::move(result.emit), result.matched};
}

std::string Answer::Finish() {
  if (stops_.matched()) return "";
  StopStrings::Result rest = stops_.Push(detokenizer_.Finish());
  return rest.matched ? rest.emit : rest.emit + stops_.Finish();
}

}  // namespace tessera
