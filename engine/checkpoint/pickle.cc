#include "engine/checkpoint/pickle.h"

#include <fmt/format.h>

#include <unordered_map>
#include <utility>

#include "engine/base/little_endian.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr size_t kMaxBytes = size_t{32} << 20;  // a tensor takes about 100
constexpr size_t kMaxNodes = size_t{1} << 21;
constexpr size_t kMaxShownBytes = 80;  // of a name in an error

std::string Shown(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, kMaxShownBytes)) shown += c > ' ' && c < 0x7f ? c : '?';
  return shown;
}

class Machine {
 public:
  Machine(std::string_view bytes, std::span<const std::string_view> allowed)
      : bytes_(bytes), allowed_(allowed) {}

  absl::StatusOr<Pickle> Run();

 private:
  // One opcode each, by what it works on. NOT_FOUND: not one of these.
  absl::Status Step(uint8_t opcode);
  absl::Status StepScalar(uint8_t opcode);
  absl::Status StepContainer(uint8_t opcode);
  absl::Status StepMemo(uint8_t opcode);
  absl::Status StepObject(uint8_t opcode);

  absl::Status Error(const std::string& what) const {
    return absl::InvalidArgumentError(fmt::format("byte {}: {}", opcode_at_, what));
  }
  absl::StatusOr<uint64_t> Integer(size_t size);
  absl::StatusOr<std::string_view> Text(size_t size_of_length);
  absl::StatusOr<std::string_view> Line();
  absl::Status Push(PickleNode node);
  absl::Status PushAgain(uint64_t memo);
  absl::Status Remember(uint64_t memo);
  absl::StatusOr<uint32_t> Pop();
  // Everything above the last mark, which goes too.
  absl::StatusOr<std::vector<uint32_t>> PopToMark();
  absl::Status PushTuple(size_t count);
  absl::Status Extend(std::vector<uint32_t> items, bool pairs);
  absl::Status PushGlobal(std::string_view module, std::string_view name);
  absl::Status PushStackGlobal();
  absl::Status PushLong();
  absl::Status Reduce();

  std::string_view bytes_;
  std::span<const std::string_view> allowed_;
  size_t at_ = 0;
  size_t opcode_at_ = 0;
  Pickle pickle_;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;  // sizes of the stack
  std::unordered_map<uint64_t, uint32_t> memo_;
};

absl::StatusOr<uint64_t> Machine::Integer(size_t size) {
  if (size > bytes_.size() - at_) return Error("the pickle is cut");
  const uint64_t value = LittleEndian(bytes_, at_, size);
  at_ += size;
  return value;
}

absl::StatusOr<std::string_view> Machine::Text(size_t size_of_length) {
  ASSIGN_OR_RETURN(const uint64_t size, Integer(size_of_length));
  if (size > bytes_.size() - at_) return Error(fmt::format("a string of {} bytes is cut", size));
  at_ += size;
  return bytes_.substr(at_ - size, size);
}

absl::StatusOr<std::string_view> Machine::Line() {
  const size_t end = bytes_.find('\n', at_);
  if (end == std::string_view::npos) return Error("the pickle is cut");
  const std::string_view line = bytes_.substr(at_, end - at_);
  at_ = end + 1;
  return line;
}

absl::Status Machine::Push(PickleNode node) {
  if (pickle_.nodes.size() >= kMaxNodes)
    return Error(fmt::format("more than {} values", kMaxNodes));
  node.offset = static_cast<uint32_t>(opcode_at_);
  stack_.push_back(static_cast<uint32_t>(pickle_.nodes.size()));
  pickle_.nodes.push_back(std::move(node));
  return absl::OkStatus();
}

absl::Status Machine::PushAgain(uint64_t memo) {
  const auto found = memo_.find(memo);
  if (found == memo_.end()) return Error(fmt::format("nothing is remembered as {}", memo));
  if (stack_.size() >= kMaxNodes) return Error(fmt::format("more than {} values", kMaxNodes));
  stack_.push_back(found->second);
  return absl::OkStatus();
}

absl::Status Machine::Remember(uint64_t memo) {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) return Error("the stack is empty");
  if (memo_.size() >= kMaxNodes) return Error(fmt::format("more than {} values", kMaxNodes));
  memo_[memo] = stack_.back();
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> Machine::Pop() {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) return Error("the stack is empty");
  const uint32_t node = stack_.back();
  stack_.pop_back();
  return node;
}

absl::StatusOr<std::vector<uint32_t>> Machine::PopToMark() {
  if (marks_.empty()) return Error("there is no mark");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<uint32_t> items(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return items;
}

absl::Status Machine::PushTuple(size_t count) {
  std::vector<uint32_t> items(count);
  for (size_t i = count; i-- > 0;) {
    ASSIGN_OR_RETURN(items[i], Pop());
  }
  return Push({.kind = PickleKind::kTuple, .items = std::move(items)});
}

// Adds to the list, or sets on the dict or object, on top of the stack.
absl::Status Machine::Extend(std::vector<uint32_t> items, bool pairs) {
  ASSIGN_OR_RETURN(const uint32_t top, Pop());
  stack_.push_back(top);
  PickleNode& node = pickle_.nodes[top];
  const bool fits = pairs ? node.kind == PickleKind::kDict || node.kind == PickleKind::kObject
                          : node.kind == PickleKind::kList;
  if (!fits) return Error(pairs ? "items are set on no dict" : "items are appended to no list");
  if (pairs && items.size() % 2 != 0) return Error("a key without a value");
  node.items.insert(node.items.end(), items.begin(), items.end());
  return absl::OkStatus();
}

absl::Status Machine::PushGlobal(std::string_view module, std::string_view name) {
  for (size_t i = 0; i < allowed_.size(); ++i) {
    const std::string_view known = allowed_[i];
    if (known.size() == module.size() + 1 + name.size() &&
        known.substr(0, module.size()) == module && known[module.size()] == '.' &&
        known.substr(module.size() + 1) == name) {
      return Push({.kind = PickleKind::kGlobal, .integer = static_cast<int64_t>(i)});
    }
  }
  return Error(
      fmt::format("{}.{} is needed, which is not a part of tensors; a checkpoint runs no code",
                  Shown(module), Shown(name)));
}

absl::Status Machine::PushStackGlobal() {
  ASSIGN_OR_RETURN(const uint32_t name, Pop());
  ASSIGN_OR_RETURN(const uint32_t module, Pop());
  if (pickle_.at(name).kind != PickleKind::kString ||
      pickle_.at(module).kind != PickleKind::kString) {
    return Error("a global's name is no string");
  }
  return PushGlobal(pickle_.at(module).text, pickle_.at(name).text);
}

// Two's complement of any length; what 64 bits hold is read.
absl::Status Machine::PushLong() {
  ASSIGN_OR_RETURN(const uint64_t size, Integer(1));
  if (size > 8) return Error(fmt::format("an integer of {} bytes", size));
  ASSIGN_OR_RETURN(const uint64_t value, Integer(size));
  const unsigned unused = static_cast<unsigned>(64 - 8 * size);
  const int64_t extended = size == 0 ? 0 : static_cast<int64_t>(value << unused) >> unused;
  return Push({.kind = PickleKind::kInt, .integer = extended});
}

absl::Status Machine::Reduce() {
  ASSIGN_OR_RETURN(const uint32_t arguments, Pop());
  ASSIGN_OR_RETURN(const uint32_t callable, Pop());
  if (pickle_.at(callable).kind != PickleKind::kGlobal ||
      pickle_.at(arguments).kind != PickleKind::kTuple) {
    return Error("what is called is no global, or its arguments are no tuple");
  }
  return Push({.kind = PickleKind::kObject, .items = {callable, arguments}});
}

absl::Status Machine::StepScalar(uint8_t opcode) {
  const auto push_integer = [this](size_t size) -> absl::Status {
    ASSIGN_OR_RETURN(const uint64_t value, Integer(size));
    const int64_t integer = size == 4 ? static_cast<int32_t>(value) : static_cast<int64_t>(value);
    return Push({.kind = PickleKind::kInt, .integer = integer});
  };
  const auto push_text = [this](size_t size_of_length) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string_view text, Text(size_of_length));
    return Push({.kind = PickleKind::kString, .text = text});
  };
  switch (opcode) {
    case 'N':
      return Push({.kind = PickleKind::kNone});
    case 0x88:  // NEWTRUE
    case 0x89:  // NEWFALSE
      return Push({.kind = PickleKind::kBool, .integer = opcode == 0x88});
    case 'K':  // BININT1
      return push_integer(1);
    case 'M':  // BININT2
      return push_integer(2);
    case 'J':  // BININT
      return push_integer(4);
    case 0x8a:  // LONG1
      return PushLong();
    case 'G': {  // BINFLOAT
      ASSIGN_OR_RETURN([[maybe_unused]] const uint64_t value, Integer(8));
      return Push({.kind = PickleKind::kFloat});
    }
    case 'X':  // BINUNICODE
      return push_text(4);
    case 0x8c:  // SHORT_BINUNICODE
      return push_text(1);
    default:
      return absl::NotFoundError("");
  }
}

absl::Status Machine::StepContainer(uint8_t opcode) {
  switch (opcode) {
    case '}':
      return Push({.kind = PickleKind::kDict});
    case ']':
      return Push({.kind = PickleKind::kList});
    case ')':
      return PushTuple(0);
    case 0x85:  // TUPLE1
    case 0x86:  // TUPLE2
    case 0x87:  // TUPLE3
      return PushTuple(opcode - 0x84u);
    case '(':  // MARK
      if (marks_.size() >= kMaxNodes) return Error(fmt::format("more than {} marks", kMaxNodes));
      marks_.push_back(stack_.size());
      return absl::OkStatus();
    case 't': {  // TUPLE
      ASSIGN_OR_RETURN(std::vector<uint32_t> items, PopToMark());
      return Push({.kind = PickleKind::kTuple, .items = std::move(items)});
    }
    case 'e':    // APPENDS
    case 'u': {  // SETITEMS
      ASSIGN_OR_RETURN(std::vector<uint32_t> items, PopToMark());
      return Extend(std::move(items), opcode == 'u');
    }
    case 'a': {  // APPEND
      ASSIGN_OR_RETURN(const uint32_t item, Pop());
      return Extend({item}, false);
    }
    case 's': {  // SETITEM
      ASSIGN_OR_RETURN(const uint32_t value, Pop());
      ASSIGN_OR_RETURN(const uint32_t key, Pop());
      return Extend({key, value}, true);
    }
    default:
      return absl::NotFoundError("");
  }
}

absl::Status Machine::StepMemo(uint8_t opcode) {
  switch (opcode) {
    case 'q':    // BINPUT
    case 'r': {  // LONG_BINPUT
      ASSIGN_OR_RETURN(const uint64_t memo, Integer(opcode == 'q' ? 1 : 4));
      return Remember(memo);
    }
    case 0x94:  // MEMOIZE
      return Remember(memo_.size());
    case 'h':    // BINGET
    case 'j': {  // LONG_BINGET
      ASSIGN_OR_RETURN(const uint64_t memo, Integer(opcode == 'h' ? 1 : 4));
      return PushAgain(memo);
    }
    default:
      return absl::NotFoundError("");
  }
}

absl::Status Machine::StepObject(uint8_t opcode) {
  switch (opcode) {
    case 'c': {  // GLOBAL
      ASSIGN_OR_RETURN(const std::string_view module, Line());
      ASSIGN_OR_RETURN(const std::string_view name, Line());
      return PushGlobal(module, name);
    }
    case 0x93:  // STACK_GLOBAL
      return PushStackGlobal();
    case 'Q': {  // BINPERSID
      ASSIGN_OR_RETURN(const uint32_t id, Pop());
      return Push({.kind = PickleKind::kPersistent, .items = {id}});
    }
    case 'R':
      return Reduce();
    case 'b': {  // BUILD: attributes of an object, e.g. the _metadata of a state dict; not kept
      ASSIGN_OR_RETURN([[maybe_unused]] const uint32_t state, Pop());
      return Extend({}, true);
    }
    case 0x95: {  // FRAME: a hint for buffered reading
      ASSIGN_OR_RETURN([[maybe_unused]] const uint64_t size, Integer(8));
      return absl::OkStatus();
    }
    default:
      return absl::NotFoundError("");
  }
}

absl::Status Machine::Step(uint8_t opcode) {
  for (const auto step :
       {&Machine::StepScalar, &Machine::StepContainer, &Machine::StepMemo, &Machine::StepObject}) {
    const absl::Status status = (this->*step)(opcode);
    if (!absl::IsNotFound(status)) return status;
  }
  return Error(fmt::format("opcode 0x{:02x} is not one that tensors are made of", opcode));
}

absl::StatusOr<Pickle> Machine::Run() {
  if (bytes_.size() > kMaxBytes) {
    return Error(fmt::format("{} bytes, at most {} are read", bytes_.size(), kMaxBytes));
  }
  if (bytes_.size() < 2 || bytes_[0] != '\x80' || bytes_[1] < 2 || bytes_[1] > 5) {
    return Error("no pickle of protocol 2 to 5");
  }
  at_ = 2;
  while (at_ < bytes_.size()) {
    opcode_at_ = at_;
    const auto opcode = static_cast<uint8_t>(bytes_[at_++]);
    if (opcode == '.') {  // STOP
      if (stack_.size() != 1 || !marks_.empty())
        return Error("it ends with more or less than one value");
      pickle_.root = stack_[0];
      return std::move(pickle_);
    }
    RETURN_IF_ERROR(Step(opcode));
  }
  opcode_at_ = at_;
  return Error("the pickle is cut");
}

}  // namespace

absl::StatusOr<Pickle> ReadPickle(std::string_view bytes,
                                  std::span<const std::string_view> allowed) {
  return Machine(bytes, allowed).Run();
}

}  // namespace tessera
