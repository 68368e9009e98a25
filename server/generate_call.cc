#include "server/generate_call.h"

#include <utility>

#include "engine/base/status.h"
#include "server/convert.h"

namespace tessera {

absl::Status GenerateCall::Take(grpc::ByteBuffer bytes, MemoryCharge memory) {
  ASSIGN_OR_RETURN(Work work, MakeWork<v1::GenerateRequest>(slot(), guard(), std::move(bytes),
                                                            std::move(memory)));
  response_.set_request_id(guard().call().request_id);
  response_.set_model(work.engine->model().name);
  guard().SetStage("queue");
  return submission_.Submit(std::move(work),
                            std::static_pointer_cast<GenerateCall>(shared_from_this()));
}

void GenerateCall::OnAdmitted(const PromptInfo& prompt) {
  response_.mutable_prompt_token_ids()->Assign(prompt.token_ids.begin(), prompt.token_ids.end());
}

void GenerateCall::OnChunk(Chunk chunk) {
  response_.mutable_text()->append(chunk.text);
  response_.mutable_token_ids()->Add(chunk.token_ids.begin(), chunk.token_ids.end());
  AppendLogprobs(chunk, response_.mutable_logprobs());
}

void GenerateCall::OnFinish(const Completion& completion) {
  const grpc::Status status = guard().Answer(completion);
  if (!status.ok()) return Finish(status);
  response_.set_finish_reason(ToProto(completion.finish_reason));
  *response_.mutable_usage() = ToProto(completion.usage);
  grpc::ByteBuffer answer = SerializeMessage(response_);
  response_.Clear();
  WriteAndFinish(std::move(answer), status);
}

}  // namespace tessera
