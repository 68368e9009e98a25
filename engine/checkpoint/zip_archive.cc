#include "engine/checkpoint/zip_archive.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "engine/base/little_endian.h"
#include "engine/base/status.h"

namespace tessera {
namespace {

constexpr uint64_t kLocalHeader = 0x04034b50;
constexpr uint64_t kDirectoryEntry = 0x02014b50;
constexpr uint64_t kDirectoryEnd = 0x06054b50;
constexpr uint64_t kDirectoryEnd64 = 0x06064b50;
constexpr uint64_t kLocator64 = 0x07064b50;

constexpr size_t kLocalHeaderBytes = 30;
constexpr size_t kDirectoryEntryBytes = 46;
constexpr size_t kDirectoryEndBytes = 22;
constexpr size_t kDirectoryEnd64Bytes = 56;
constexpr size_t kLocator64Bytes = 20;
constexpr size_t kMaxComment = 0xffff;
constexpr size_t kMaxName = 512;
constexpr uint64_t kIn64Bits = 0xffffffff;  // the true value is in the 64-bit extension

absl::Status Bad(const std::string& what) { return absl::InvalidArgumentError(what); }

bool Fits(uint64_t begin, uint64_t size, uint64_t limit) {
  return begin <= limit && size <= limit - begin;
}

struct Directory {
  uint64_t begin = 0;
  uint64_t size = 0;
  uint64_t entries = 0;
};

struct Entry {
  std::string name;
  uint64_t begin = 0;  // of the local header
  uint64_t data = 0;
  uint64_t size = 0;  // in the archive
  bool compressed = false;
};

// Where the end record stands: the last place whose comment reaches to the end of the file.
std::optional<size_t> FindDirectoryEnd(std::string_view bytes) {
  if (bytes.size() < kDirectoryEndBytes) return std::nullopt;
  const size_t last = bytes.size() - kDirectoryEndBytes;
  for (size_t comment = 0; comment <= std::min(last, kMaxComment); ++comment) {
    const size_t at = last - comment;
    if (LittleEndian(bytes, at, 4) == kDirectoryEnd && LittleEndian(bytes, at + 20, 2) == comment) {
      return at;
    }
  }
  return std::nullopt;
}

absl::StatusOr<Directory> FindDirectory(std::string_view bytes) {
  const std::optional<size_t> end = FindDirectoryEnd(bytes);
  if (!end) return Bad("the zip archive has no end; the file is cut or was not written whole");
  Directory directory{LittleEndian(bytes, *end + 16, 4), LittleEndian(bytes, *end + 12, 4),
                      LittleEndian(bytes, *end + 10, 2)};
  size_t limit = *end;
  if (*end >= kLocator64Bytes && LittleEndian(bytes, *end - kLocator64Bytes, 4) == kLocator64) {
    const size_t locator = *end - kLocator64Bytes;
    const uint64_t at = LittleEndian(bytes, locator + 8, 8);
    if (!Fits(at, kDirectoryEnd64Bytes, locator) || LittleEndian(bytes, at, 4) != kDirectoryEnd64) {
      return Bad(fmt::format("no 64-bit end of the zip directory at byte {}", at));
    }
    directory = {LittleEndian(bytes, at + 48, 8), LittleEndian(bytes, at + 40, 8),
                 LittleEndian(bytes, at + 32, 8)};
    limit = at;
  }
  if (!Fits(directory.begin, directory.size, limit)) {
    return Bad(fmt::format("the zip directory, {} bytes at byte {}, does not fit into {} bytes",
                           directory.size, directory.begin, limit));
  }
  return directory;
}

// Sizes and offset that are too large for 32 bits stand in the entry's extra field 1, in this
// order.
absl::Status Read64(std::string_view extra, uint64_t& content, uint64_t& size, uint64_t& begin) {
  for (size_t at = 0; at + 4 <= extra.size();) {
    const uint64_t kind = LittleEndian(extra, at, 2);
    const uint64_t length = LittleEndian(extra, at + 2, 2);
    at += 4;
    if (length > extra.size() - at) break;
    const std::string_view field = extra.substr(at, length);
    at += length;
    if (kind != 1) continue;
    size_t used = 0;
    for (uint64_t* value : {&content, &size, &begin}) {
      if (*value != kIn64Bits) continue;
      if (field.size() - used < 8) return Bad("its 64-bit sizes are cut");
      *value = LittleEndian(field, used, 8);
      used += 8;
    }
    return absl::OkStatus();
  }
  const bool needed = content == kIn64Bits || size == kIn64Bits || begin == kIn64Bits;
  return needed ? Bad("its 64-bit sizes are missing") : absl::OkStatus();
}

// The entry at `at` of the directory `bytes`, which moves on to the next. `file`: the whole
// archive; files end before `limit`.
absl::StatusOr<Entry> ReadEntry(std::string_view bytes, size_t& at, std::string_view file,
                                uint64_t limit) {
  if (!Fits(at, kDirectoryEntryBytes, bytes.size()) ||
      LittleEndian(bytes, at, 4) != kDirectoryEntry) {
    return Bad(fmt::format("no entry at byte {} of the zip directory", at));
  }
  const size_t name_size = LittleEndian(bytes, at + 28, 2);
  const size_t extra_size = LittleEndian(bytes, at + 30, 2);
  const size_t comment_size = LittleEndian(bytes, at + 32, 2);
  const size_t whole = kDirectoryEntryBytes + name_size + extra_size + comment_size;
  if (!Fits(at, whole, bytes.size())) {
    return Bad(fmt::format("the entry at byte {} of the zip directory is cut", at));
  }
  if (name_size > kMaxName) return Bad(fmt::format("a file name of {} bytes", name_size));
  Entry entry;
  entry.name = bytes.substr(at + kDirectoryEntryBytes, name_size);
  entry.begin = LittleEndian(bytes, at + 42, 4);
  entry.size = LittleEndian(bytes, at + 20, 4);
  uint64_t content = LittleEndian(bytes, at + 24, 4);
  const absl::Status sizes = Read64(bytes.substr(at + kDirectoryEntryBytes + name_size, extra_size),
                                    content, entry.size, entry.begin);
  if (!sizes.ok()) return Annotate(sizes, entry.name);
  if (LittleEndian(bytes, at + 8, 2) & 1) return Bad(entry.name + ": encrypted");
  entry.compressed = LittleEndian(bytes, at + 10, 2) != 0 || content != entry.size;
  if (!Fits(entry.begin, kLocalHeaderBytes, limit) ||
      LittleEndian(file, entry.begin, 4) != kLocalHeader) {
    return Bad(fmt::format("{}: no header at byte {}", entry.name, entry.begin));
  }
  entry.data = entry.begin + kLocalHeaderBytes + LittleEndian(file, entry.begin + 26, 2) +
               LittleEndian(file, entry.begin + 28, 2);
  if (!Fits(entry.data, entry.size, limit)) {
    return Bad(fmt::format("{}: {} bytes at byte {} do not fit into the {} before the directory",
                           entry.name, entry.size, entry.data, limit));
  }
  if (LittleEndian(file, entry.begin + 26, 2) != name_size ||
      file.substr(entry.begin + kLocalHeaderBytes, name_size) != entry.name) {
    return Bad(fmt::format("{}: another name at byte {}", entry.name, entry.begin));
  }
  at += whole;
  return entry;
}

absl::Status CheckOverlaps(std::vector<Entry>& entries) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < entries.size(); ++i) {
    if (entries[i - 1].data + entries[i - 1].size > entries[i].begin) {
      return Bad(fmt::format("{} and {} overlap", entries[i - 1].name, entries[i].name));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ZipFiles> ReadZip(std::string_view bytes) {
  ASSIGN_OR_RETURN(const Directory directory, FindDirectory(bytes));
  const std::string_view listing = bytes.substr(directory.begin, directory.size);
  std::vector<Entry> entries;
  size_t at = 0;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    ASSIGN_OR_RETURN(Entry entry, ReadEntry(listing, at, bytes, directory.begin));
    entries.push_back(std::move(entry));
  }
  if (at != listing.size()) {
    return Bad(fmt::format("the zip directory's {} entries fill {} of its {} bytes",
                           directory.entries, at, listing.size()));
  }
  RETURN_IF_ERROR(CheckOverlaps(entries));
  ZipFiles files;
  for (const Entry& entry : entries) {
    if (!files.emplace(entry.name, ZipFile{bytes.substr(entry.data, entry.size), entry.compressed})
             .second) {
      return Bad(entry.name + ": is there twice");
    }
  }
  return files;
}

}  // namespace tessera
