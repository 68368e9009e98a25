#include "engine/tokenizer/tokenizer_parts.h"

#include <fmt/format.h>

#include <string_view>

#include "absl/container/flat_hash_set.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

absl::flat_hash_set<std::string> ControlContents(const TokenizerConfig& config) {
  absl::flat_hash_set<std::string> contents(config.other_special.begin(),
                                            config.other_special.end());
  for (const auto* role : {&config.bos, &config.eos, &config.unk, &config.pad}) {
    if (role->has_value()) contents.insert(**role);
  }
  return contents;
}

// A token that only calls itself special is found like a control token, but the slow classes write
// it.
absl::Status AddToken(const AddedTokenEntry& entry, bool has_role, AddedTokenRules rules,
                      TokenizerParts* parts) {
  const bool control = has_role || entry.special;
  RETURN_IF_ERROR(parts->tokens.AddAdded(entry.id, entry.content,
                                         rules == AddedTokenRules::kSlow ? has_role : control));
  if (rules != AddedTokenRules::kFast) {
    parts->added.Add(entry.content, entry.id, control);
  } else if (entry.normalized) {
    const std::string normalized = parts->normalizer.Normalize(entry.content);
    if (normalized.empty()) {
      return absl::InvalidArgumentError(
          fmt::format("the normalizer leaves nothing of the added token '{}'", entry.content));
    }
    parts->added.Add(normalized, entry.id, control);
  } else {
    parts->raw_added.Add(entry.content, entry.id, control);
  }
  return absl::OkStatus();
}

std::optional<int32_t> IdOf(const std::optional<std::string>& content, const TokenTable& tokens) {
  return content.has_value() ? tokens.Find(*content) : std::nullopt;
}

}  // namespace

absl::Status AddTokens(const std::vector<AddedTokenEntry>& added, const TokenizerConfig& config,
                       AddedTokenRules rules, TokenizerParts* parts) {
  const absl::flat_hash_set<std::string> control = ControlContents(config);
  absl::flat_hash_set<std::string> done;
  for (const AddedTokenEntry& entry : added) {
    RETURN_IF_ERROR(AddToken(entry, control.contains(entry.content), rules, parts));
    done.insert(entry.content);
  }
  const auto add_named = [&](const std::string& content) -> absl::Status {
    if (!done.insert(content).second) return absl::OkStatus();
    const int32_t id = parts->tokens.Find(content).value_or(parts->tokens.size());
    return AddToken({content, id, /*special=*/true, /*normalized=*/false}, true, rules, parts);
  };
  for (const auto* role : {&config.bos, &config.eos, &config.unk, &config.pad}) {
    if (role->has_value()) RETURN_IF_ERROR(add_named(**role));
  }
  for (const std::string& content : config.other_special) RETURN_IF_ERROR(add_named(content));
  parts->bos = IdOf(config.bos, parts->tokens);
  parts->eos = IdOf(config.eos, parts->tokens);
  parts->unk = IdOf(config.unk, parts->tokens);
  parts->pad = IdOf(config.pad, parts->tokens);
  return absl::OkStatus();
}

}  // namespace tessera
