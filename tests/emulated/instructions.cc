// The instructions of tests/emulated/gpu/gpu.h that are more than a line.
#include "engine/base/check.h"
#include "gpu/gpu.h"
#include "tests/emulated/hopper.h"

namespace tessera::gpu {
namespace {

constexpr int kWarp = emulated::kWarp;

void Arrive(std::vector<emulated::Copy>& group) {
  emulated::Hopper* const hopper = emulated::Block::Current().hopper.get();
  for (const emulated::Copy& copy : group) {
    if (hopper != nullptr) hopper->CopyArrived(copy.shared);
    if (copy.global == nullptr) {
      std::memset(copy.shared, 0, copy.bytes);
    } else {
      std::memcpy(copy.shared, copy.global, copy.bytes);
    }
  }
  group.clear();
}

struct MatrixLoad {
  const uint16_t* row;
  uint32_t* registers;
};

template <bool kTransposed>
void LoadAll(void** all) {
  for (int i = 0; i < 4; ++i) {
    uint16_t matrix[8][8];
    for (int r = 0; r < 8; ++r) {
      std::memcpy(matrix[r], static_cast<MatrixLoad*>(all[8 * i + r])->row, 16);
    }
    for (int lane = 0; lane < kWarp; ++lane) {
      const int r = lane / 4;
      const int c = lane % 4 * 2;
      const uint32_t low = kTransposed ? matrix[c][r] : matrix[r][c];
      const uint32_t high = kTransposed ? matrix[c + 1][r] : matrix[r][c + 1];
      static_cast<MatrixLoad*>(all[lane])->registers[i] = low | high << 16;
    }
  }
}

struct Product {
  float* d;
  const uint32_t* a;
  uint32_t b[2];
};

template <float (*kWiden)(uint16_t)>
void Multiply(void** all) {
  const auto half = [](uint32_t pair, int i) {
    return kWiden(static_cast<uint16_t>(pair >> 16 * i));
  };
  float a[16][16], b[8][16];
  for (int lane = 0; lane < kWarp; ++lane) {
    const auto* product = static_cast<Product*>(all[lane]);
    const int g = lane / 4;
    const int t = lane % 4 * 2;
    for (int i = 0; i < 2; ++i) {
      a[g][t + i] = half(product->a[0], i);
      a[g + 8][t + i] = half(product->a[1], i);
      a[g][t + 8 + i] = half(product->a[2], i);
      a[g + 8][t + 8 + i] = half(product->a[3], i);
      b[g][t + i] = half(product->b[0], i);
      b[g][t + 8 + i] = half(product->b[1], i);
    }
  }
  for (int lane = 0; lane < kWarp; ++lane) {
    float* d = static_cast<Product*>(all[lane])->d;
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8;
      const int col = lane % 4 * 2 + i % 2;
      float sum = d[i];
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[col][k];
      d[i] = sum;
    }
  }
}

template <size_t kBytes>
void Copy(void* shared, const void* global, bool valid) {
  TESSERA_CHECK(reinterpret_cast<uintptr_t>(shared) % kBytes == 0);
  TESSERA_CHECK(!valid || reinterpret_cast<uintptr_t>(global) % kBytes == 0);
  std::memset(shared, 0xff, kBytes);
  if (emulated::Hopper* hopper = emulated::Block::Current().hopper.get(); hopper != nullptr) {
    hopper->CopyStarted(shared);
  }
  emulated::Block::Current().thread().copies.back().push_back(
      {shared, valid ? global : nullptr, kBytes});
}

}  // namespace

void CopyAsync16(void* shared, const void* global, bool valid) { Copy<16>(shared, global, valid); }
void CopyAsync4(void* shared, const void* global, bool valid) { Copy<4>(shared, global, valid); }

void CommitCopies() { emulated::Block::Current().thread().copies.emplace_back(); }

void WaitCopiesBut(size_t pending) {
  auto& copies = emulated::Block::Current().thread().copies;
  while (copies.size() > pending + 1) {
    Arrive(copies.front());
    copies.erase(copies.begin());
  }
}

void LoadMatrices(uint32_t (&registers)[4], const void* row) {
  TESSERA_CHECK(reinterpret_cast<uintptr_t>(row) % 16 == 0);
  MatrixLoad load = {static_cast<const uint16_t*>(row), registers};
  emulated::Block::Current().MeetWarp(&load, LoadAll<false>);
}

void LoadMatricesTransposed(uint32_t (&registers)[4], const void* row) {
  TESSERA_CHECK(reinterpret_cast<uintptr_t>(row) % 16 == 0);
  MatrixLoad load = {static_cast<const uint16_t*>(row), registers};
  emulated::Block::Current().MeetWarp(&load, LoadAll<true>);
}

void MultiplyBFloat16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  Product product = {d, a, {b0, b1}};
  emulated::Block::Current().MeetWarp(&product, Multiply<::tessera::BFloat16ToFloat>);
}

void MultiplyFloat16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  Product product = {d, a, {b0, b1}};
  emulated::Block::Current().MeetWarp(&product, Multiply<::tessera::Float16ToFloat>);
}

}  // namespace tessera::gpu
