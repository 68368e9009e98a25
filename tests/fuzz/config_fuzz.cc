// Any bytes as a model's config.json: refused, or a specification whose numbers fit together.
#include "engine/base/check.h"
#include "engine/model/arch/architectures.h"
#include "tests/fuzz/input_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto path = tessera::fuzz::WriteInput("config.json", data, size);
  const auto spec = tessera::ReadModelSpec({path.parent_path()});
  if (!spec.ok()) return 0;
  const tessera::DecoderSpec& decoder = spec->decoder;
  TESSERA_CHECK(decoder.layers > 0 && decoder.hidden > 0 && decoder.ffn > 0);
  TESSERA_CHECK(decoder.heads > 0 && decoder.kv_heads > 0 && decoder.head_dim > 0);
  TESSERA_CHECK(decoder.heads % decoder.kv_heads == 0);
  TESSERA_CHECK(decoder.rotary_dims >= 0 && decoder.rotary_dims <= decoder.head_dim);
  TESSERA_CHECK(decoder.experts.size() == static_cast<size_t>(decoder.layers));
  TESSERA_CHECK(decoder.max_experts() == 0 ||
                decoder.router.experts_per_token <= decoder.max_experts());
  TESSERA_CHECK(spec->max_context > 0);
  if (spec->vision) {
    TESSERA_CHECK(spec->vision->run_layers >= 0 &&
                  spec->vision->run_layers <= spec->vision->layers);
  }
  return 0;
}
