// SHA-256 (FIPS 180-4) through OpenSSL: the identity of images and of KV blocks.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace tessera {

using Digest = std::array<uint8_t, 32>;

Digest Sha256(std::string_view bytes);

// Hashes several pieces as if they were one string.
class Sha256Stream {
 public:
  Sha256Stream();
  ~Sha256Stream();
  Sha256Stream(const Sha256Stream&) = delete;
  Sha256Stream& operator=(const Sha256Stream&) = delete;

  void Add(const void* data, size_t bytes);
  template <typename T>
  void AddSpan(std::span<const T> values) {
    Add(values.data(), values.size_bytes());
  }
  Digest Finish();

 private:
  void* context_;  // EVP_MD_CTX
};

}  // namespace tessera
