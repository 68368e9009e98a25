// Writes zip archives, pickles and PyTorch archives for tests: right ones, and broken in any place.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::testing {

inline std::string LittleEndianBytes(uint64_t value, int size) {
  std::string bytes;
  for (int i = 0; i < size; ++i, value >>= 8) bytes.push_back(static_cast<char>(value & 255));
  return bytes;
}

class ZipWriter {
 public:
  struct Entry {
    std::string name;
    std::string content;
    uint16_t flags = 0;
    uint16_t method = 0;
    int64_t begin = -1;               // that the directory tells; -1: the true one
    int64_t size = -1;                // that the directory tells; -1: the true one
    std::string name_in_header = {};  // empty: `name`
    bool in_64_bits = false;          // sizes and offset stand in the extra field
  };

  ZipWriter& Add(const std::string& name, const std::string& content) {
    entries.push_back({.name = name, .content = content});
    return *this;
  }
  std::string Bytes() const {
    std::string bytes;
    std::string directory;
    for (const Entry& entry : entries) {
      const auto begin =
          static_cast<uint64_t>(entry.begin < 0 ? static_cast<int64_t>(bytes.size()) : entry.begin);
      const auto size = static_cast<uint64_t>(
          entry.size < 0 ? static_cast<int64_t>(entry.content.size()) : entry.size);
      const std::string& own = entry.name_in_header.empty() ? entry.name : entry.name_in_header;
      bytes += "PK\3\4" + LittleEndianBytes(0, 22) + LittleEndianBytes(own.size(), 2) +
               LittleEndianBytes(0, 2) + own + entry.content;
      const std::string extra = entry.in_64_bits
                                    ? LittleEndianBytes(0x18'0001, 4) + LittleEndianBytes(size, 8) +
                                          LittleEndianBytes(size, 8) + LittleEndianBytes(begin, 8)
                                    : "";
      const uint64_t size32 = entry.in_64_bits ? 0xffffffff : size;
      directory += "PK\1\2" + LittleEndianBytes(0, 4) + LittleEndianBytes(entry.flags, 2) +
                   LittleEndianBytes(entry.method, 2) + LittleEndianBytes(0, 8) +
                   LittleEndianBytes(size32, 4) + LittleEndianBytes(size32, 4) +
                   LittleEndianBytes(entry.name.size(), 2) + LittleEndianBytes(extra.size(), 2) +
                   LittleEndianBytes(0, 10) +
                   LittleEndianBytes(entry.in_64_bits ? 0xffffffff : begin, 4) + entry.name + extra;
    }
    return bytes + directory + End(bytes.size(), directory.size());
  }

  std::vector<Entry> entries;
  std::string comment;
  bool in_64_bits = false;  // the directory's place
  int more_entries = 0;     // told than there are

 private:
  std::string End(uint64_t begin, uint64_t size) const {
    const uint64_t count = entries.size() + static_cast<uint64_t>(more_entries);
    std::string end;
    if (in_64_bits) {
      end += "PK\6\6" + LittleEndianBytes(44, 8) + LittleEndianBytes(0, 12) +
             LittleEndianBytes(count, 8) + LittleEndianBytes(count, 8) +
             LittleEndianBytes(size, 8) + LittleEndianBytes(begin, 8);
      end += "PK\6\7" + LittleEndianBytes(0, 4) + LittleEndianBytes(begin + size, 8) +
             LittleEndianBytes(1, 4);
    }
    return end + "PK\5\6" + LittleEndianBytes(0, 4) +
           LittleEndianBytes(in_64_bits ? 0xffff : count, 2) +
           LittleEndianBytes(in_64_bits ? 0xffff : count, 2) +
           LittleEndianBytes(in_64_bits ? 0xffffffff : size, 4) +
           LittleEndianBytes(in_64_bits ? 0xffffffff : begin, 4) +
           LittleEndianBytes(comment.size(), 2) + comment;
  }
};

// Parts of pickles. A pickle is "\x80\2", one value, ".".
inline std::string PickleText(std::string_view text) {
  return "X" + LittleEndianBytes(text.size(), 4) + std::string(text);
}
inline std::string PickleInt(int64_t value) {
  return "\x8a\x08" + LittleEndianBytes(static_cast<uint64_t>(value), 8);
}
inline std::string PickleInts(const std::vector<int64_t>& values) {
  std::string text = "(";
  for (const int64_t value : values) text += PickleInt(value);
  return text + "t";
}
inline std::string PickleGlobal(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
// "{", then keys and values, each a whole value.
inline std::string PickleDict(const std::vector<std::string>& items) {
  std::string text = "}(";
  for (const std::string& item : items) text += item;
  return text + "u";
}

// The call that rebuilds a tensor. Members are what it is told.
struct PickledTensor {
  std::string type = "FloatStorage";
  std::string key = "0";
  int64_t elements = 0;
  int64_t offset = 0;
  std::vector<int64_t> sizes = {};
  std::vector<int64_t> strides = {};

  std::string Text() const {
    return PickleGlobal("torch._utils", "_rebuild_tensor_v2") + "((" + PickleText("storage") +
           PickleGlobal("torch", type) + PickleText(key) + PickleText("cpu") + PickleInt(elements) +
           "tQ" + PickleInt(offset) + PickleInts(sizes) + PickleInts(strides) + "\x89" +
           PickleGlobal("collections", "OrderedDict") + ")RtR";
  }
};

// An archive whose data.pkl holds `value` and whose storage "0" holds `storage`.
inline ZipWriter TorchArchive(const std::string& value, const std::string& storage) {
  return ZipWriter()
      .Add("archive/data.pkl", "\x80\x02" + value + ".")
      .Add("archive/byteorder", "little")
      .Add("archive/data/0", storage)
      .Add("archive/version", "3\n");
}

}  // namespace tessera::testing
