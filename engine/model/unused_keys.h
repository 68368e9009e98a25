// Keys of a model's JSON files that no reader asks for, each with the reason why nothing is lost: a
// key that decides results is read or refused, and one that is neither read nor listed here is
// warned of, since nobody knows what it asks for. Tests: tests/engine/model/config_keys_test.cc.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/json_file.h"

namespace tessera {

struct UnusedKey {
  std::string_view families;  // how the model_types begin that it holds for; empty: all
  std::string_view
      key;  // perhaps behind those of the objects that it lies in: "moe.ep_size"; at any depth
  std::string_view neutral;  // the value, as JSON, for which that is so, beside null; empty: any
  std::string_view why;
};

std::span<const UnusedKey> UnusedConfigKeys();      // config.json and adapter_config.json
std::span<const UnusedKey> UnusedGenerationKeys();  // generation_config.json
std::span<const UnusedKey> ProcessorKeys();  // preprocessor_config.json, those that are read, too

// The row for the key at `path`; null: there is none.
const UnusedKey* FindUnusedKey(std::span<const UnusedKey> table, std::string_view family,
                               std::string_view path);

// One warning for each field that nobody asked for and that is not in the table, or has there
// another value; the last says how many more there are.
void WarnOfUnread(const JsonFields& fields, std::span<const UnusedKey> table,
                  std::string_view family, std::vector<std::string>& warnings);

}  // namespace tessera
