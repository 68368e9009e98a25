#include "engine/model/activation_name.h"

#include <string_view>

namespace tessera {
namespace {

struct NamedActivation {
  std::string_view name;
  Activation activation;
};

// As in transformers' table ACT2FN.
constexpr NamedActivation kActivations[] = {
    {"gelu", Activation::kGeluErf},
    {"gelu_new", Activation::kGeluTanh},
    {"gelu_pytorch_tanh", Activation::kGeluTanh},
    {"quick_gelu", Activation::kQuickGelu},
    {"silu", Activation::kSilu},
};

}  // namespace

Activation ReadActivation(JsonFields& config, const std::string& key, Activation otherwise) {
  if (!config.Has(key)) return otherwise;
  const std::string name = config.StringOr(key, "");
  std::string known;
  for (const NamedActivation& row : kActivations) {
    if (row.name == name) return row.activation;
    known.append(known.empty() ? "" : ", ").append(row.name);
  }
  config.Refuse(key, "known are " + known);
  return otherwise;
}

}  // namespace tessera
