#include "engine/tokenizer/token_table.h"

#include <fmt/format.h>

#include <utility>

#include "absl/strings/string_view.h"
#include "engine/base/check.h"
#include "engine/tokenizer/space_symbol.h"

namespace tessera {

TokenTable::Entry& TokenTable::Grow(int32_t id) {
  TESSERA_CHECK(id >= 0);
  if (id >= size()) entries_.resize(static_cast<size_t>(id) + 1);
  return entries_[static_cast<size_t>(id)];
}

const TokenTable::Entry* TokenTable::At(int32_t id) const {
  return id >= 0 && id < size() ? &entries_[static_cast<size_t>(id)] : nullptr;
}

absl::Status TokenTable::AddOrdinary(int32_t id, std::string bytes, TokenKind kind) {
  Entry& entry = Grow(id);
  if (entry.known) {
    return absl::InvalidArgumentError(
        fmt::format("id {} belongs to both '{}' and '{}'", id, entry.bytes, bytes));
  }
  ids_.try_emplace(bytes, id);
  entry = {std::move(bytes), kind, /*known=*/true, /*control=*/kind == TokenKind::kMark};
  return absl::OkStatus();
}

absl::Status TokenTable::AddAdded(int32_t id, std::string_view content, bool control) {
  Entry& entry = Grow(id);
  if (entry.known && entry.bytes != content && entry.bytes != UnescapeSpaces(content)) {
    return absl::InvalidArgumentError(fmt::format(
        "id {} belongs to both '{}' and the added token '{}'", id, entry.bytes, content));
  }
  const bool was_control = entry.kind == TokenKind::kAdded && entry.control;
  entry = {std::string(content), TokenKind::kAdded, /*known=*/true, was_control || control};
  ids_.insert_or_assign(entry.bytes, id);
  return absl::OkStatus();
}

std::string_view TokenTable::Bytes(int32_t id) const {
  const Entry* entry = At(id);
  return entry == nullptr ? std::string_view() : entry->bytes;
}

TokenKind TokenTable::Kind(int32_t id) const {
  const Entry* entry = At(id);
  return entry == nullptr ? TokenKind::kBytes : entry->kind;
}

bool TokenTable::IsControl(int32_t id) const {
  const Entry* entry = At(id);
  return entry != nullptr && entry->control;
}

std::optional<int32_t> TokenTable::Find(std::string_view bytes) const {
  const auto found = ids_.find(absl::string_view(bytes.data(), bytes.size()));
  if (found == ids_.end()) return {};
  return found->second;
}

}  // namespace tessera
