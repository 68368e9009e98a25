// RunProduct() (kernels.h) on Hopper's copy engine and tensor cores, for 16-bit types.
#pragma once

#include "cuda/kernels/hopper_tile.h"
#include "cuda/kernels/kernels.h"

namespace tessera::cuda {

bool HopperProductFits(const Product& product);

// What the kernel reads weights through; kept beside them.
struct HopperMaps {
  gpu::TensorMap whole;   // 64 rows at a time
  gpu::TensorMap narrow;  // … 16, for narrow tiles; not of 4-bit weights
};
// Of weights [experts, out, stride] of the elements that are multiplied, or those of eight_bit.h or
// four_bit.h.
// False where there is no such engine.
bool MapHopperWeights(const void* weights, WeightFormat format, int64_t experts, int64_t out,
                      int64_t stride, HopperMaps& maps);

HopperTile ChooseHopperTile(const Product& product, int multiprocessors);

// `weights` are the maps of product.weights. Whatever the tile, results have the same bits: each is
// one sum over all of K in ascending order.
void RunHopperProduct(const Product& product, const HopperMaps& weights, const HopperTile& tile,
                      int multiprocessors, Stream stream);
inline void RunHopperProduct(const Product& product, const HopperMaps& weights, int multiprocessors,
                             Stream stream) {
  RunHopperProduct(product, weights, ChooseHopperTile(product, multiprocessors), multiprocessors,
                   stream);
}
// The same for 8-bit weights alone, for 4-bit ones, and where rows are of 8 bits, too.
void RunHopperQuantizedProduct(const Product& product, const HopperMaps& weights,
                               const HopperTile& tile, int multiprocessors, Stream stream);
void RunHopperFourBitProduct(const Product& product, const HopperMaps& weights,
                             const HopperTile& tile, int multiprocessors, Stream stream);
void RunHopperFloat8Product(const Product& product, const HopperMaps& weights,
                            const HopperTile& tile, int multiprocessors, Stream stream);

}  // namespace tessera::cuda
