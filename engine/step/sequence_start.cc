#include "engine/step/sequence_start.h"

#include <utility>

#include "engine/base/sha256.h"

namespace tessera {

void StartSequence(const LoadedModel& model, RouterMode router, PreparedPrompt prompt,
                   int32_t max_rows, LiveRequest& request) {
  Sequence& sequence = request.sequence;
  const SamplingParams& sampling = request.request.sampling;
  sequence.ticket = request.ticket;
  sequence.max_rows = max_rows;
  sequence.tokens = prompt.rows;
  sequence.prompt = std::move(prompt);
  sequence.image_ready.assign(sequence.prompt.images.size(), false);
  request.images.resize(sequence.prompt.images.size());
  request.looked_up.assign(sequence.prompt.images.size(), false);

  const DecoderSpec& decoder = model.spec.decoder;
  const bool has_images = !sequence.prompt.images.empty();
  const uint8_t unscaled = has_images && !decoder.scale_prompts_with_images ? 1 : 0;
  sequence.answer_apart =
      unscaled == 1 || (decoder.sliding_window > 0 && sequence.max_rows > decoder.sliding_window);
  Sha256Stream salt;
  salt.Add(&unscaled, sizeof(unscaled));
  salt.Add(request.request.cache_salt.data(), request.request.cache_salt.size());
  if (router == RouterMode::kGumbel) salt.Add(&sampling.seed, sizeof(sampling.seed));
  sequence.salt = salt.Finish();
  if (!sampling.ignore_eos) request.end_ids = model.eos_ids;
  request.end_ids.insert(request.end_ids.end(), sampling.stop_ids.begin(), sampling.stop_ids.end());
  request.prepared = true;
  request.prepare_ended = Clock::now();
}

}  // namespace tessera
