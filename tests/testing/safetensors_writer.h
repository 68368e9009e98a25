// Writes .safetensors files for tests: right ones from tensors, and any header before any bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tests/testing/tokenizer_files.h"

namespace tessera::testing {

// A file's bytes: the header's length in 8 bytes, the header, the data. `claimed_length`: what the
// file says of the header's length.
inline std::string SafetensorsBytes(std::string_view header, std::string_view data,
                                    uint64_t claimed_length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(claimed_length >> (8 * i) & 255));
  return bytes.append(header).append(data);
}
inline std::string SafetensorsBytes(std::string_view header, std::string_view data) {
  return SafetensorsBytes(header, data, header.size());
}

// Collects tensors one after the other.
class SafetensorsWriter {
 public:
  SafetensorsWriter& Add(const std::string& name, const std::string& dtype,
                         const std::vector<int64_t>& dims, std::string_view bytes) {
    header_[name] = {{"dtype", dtype},
                     {"shape", dims},
                     {"data_offsets", {data_.size(), data_.size() + bytes.size()}}};
    data_.append(bytes);
    return *this;
  }
  SafetensorsWriter& AddFloats(const std::string& name, const std::vector<int64_t>& dims,
                               const std::vector<float>& values) {
    return Add(name, "F32", dims,
               {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  }

  nlohmann::json& header() { return header_; }
  std::string Bytes() const { return SafetensorsBytes(header_.dump(), data_); }
  void Write(const std::filesystem::path& path) const { WriteFile(path, Bytes()); }

 private:
  nlohmann::json header_ = nlohmann::json::object();
  std::string data_;
};

}  // namespace tessera::testing
