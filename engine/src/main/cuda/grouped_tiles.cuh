// The walk over an expert layer's tiles and the loading of their stages, for the kernels of
// grouped_gemm.cu and grouped_swiglu_gradient.cu, which explain the layouts and the pairs.
#pragma once
#include "tile_gemm.cuh"

namespace grouped {

enum Layout { kForward, kSwiGlu, kInputGradient, kWeightGradient };

#ifdef PERIGEE_HOPPER

using namespace tile_gemm;

// Walks the tiles of all experts in order; every role of a block walks the same sequence, and so do
// both blocks of a pair, each on its own tile of two.
template <Layout layout, bool pair>
struct Tiles {
  static constexpr int kStepM = pair && layout == kWeightGradient ? 2 : 1;
  static constexpr int kStepN = pair && layout != kWeightGradient ? 2 : 1;

  const int* offsets;
  int walkers;                   // blocks or pairs
  bool last_is_narrow;           // at most half of the columns of the last tile exist
  int groups, tiles_m, tiles_n;  // of a group, a pair counts once; tiles_m: weight gradient alone
  int group = 0, before = 0;     // tiles of all groups before `group`
  int first_row = 0, rows = 0;   // of `group`
  int m = 0, n = 0;              // the tile within the group

  __device__ Tiles(const int* offsets, int walkers, int groups, int m, int n)
      : offsets(offsets),
        walkers(walkers),
        last_is_narrow(layout != kSwiGlu && n % kTileN != 0 && n % kTileN <= kTileN / 2),
        groups(groups),
        tiles_m((m + kTileM * kStepM - 1) / (kTileM * kStepM)),
        tiles_n(layout == kSwiGlu ? (n + kTileN / 2 * kStepN - 1) / (kTileN / 2 * kStepN)
                                  : (n + kTileN * kStepN - 1) / (kTileN * kStepN)) {
    load();
  }

  __device__ void load() {
    if (group < groups) {
      first_row = offsets[group];
      rows = offsets[group + 1] - first_row;
    }
  }

  __device__ int in_group() const {
    return (layout == kWeightGradient ? tiles_m : (rows + kTileM - 1) / kTileM) * tiles_n;
  }

  // Moves to tile `index` of the whole product; false past the last.
  __device__ bool seek(int index) {
    while (group < groups && index - before >= in_group()) {
      before += in_group();
      group++;
      load();
    }
    const int rank = pair ? blockIdx.x % 2 : 0;
    m = (index - before) / tiles_n * kStepM + (kStepM - 1) * rank;
    // Where the last tile is narrow, rows of tiles start at another column each time the walkers come
    // round, or the same walkers would have the narrow ones every time.
    const int column = (index - before) % tiles_n;
    const int turned = last_is_narrow ? (column + (index - column) / walkers) % tiles_n : column;
    n = turned * kStepN + (kStepN - 1) * rank;
    return group < groups;
  }

  __device__ int depth(int k) const {
    return ((layout == kWeightGradient ? rows : k) + kTileK - 1) / kTileK;
  }
};

// The producer: fills one stage. Halves of a tile that lie outside are not fetched.
template <Layout layout, bool pair>
__device__ void load_stage(Shared& s, int stage, const TensorMap* a, const TensorMap* b,
                           const Tiles<layout, pair>& tile, int k0, bool half_a, bool half_b) {
  const int rank = blockIdx.x % 2;
  uint64_t* full = &s.full[stage];
  uint8_t* sa = s.a[stage];
  uint8_t* sb = s.b[stage];
  hopper::barrier_expect(full, (half_a ? kBytesA / 2 : kBytesA) + (half_b ? kBytesB / 2 : kBytesB));
  if constexpr (layout == kWeightGradient) {
    for (int i = 0; i < (half_a ? 1 : 2); i++) {
      hopper::tma_load(sa + i * kBlock, a, full, tile.m * kTileM + 64 * i, tile.first_row + k0, 0);
    }
    if constexpr (pair) {
      for (int i = 2 * rank; i < 2 * rank + 2 && i < (half_b ? 2 : 4); i++) {
        hopper::tma_load_multicast(sb + i * kBlock, b, full, tile.n * kTileN + 64 * i,
                                   tile.first_row + k0, 0, 0b11);
      }
    } else {
      for (int i = 0; i < (half_b ? 2 : 4); i++) {
        hopper::tma_load(sb + i * kBlock, b, full, tile.n * kTileN + 64 * i, tile.first_row + k0,
                         0);
      }
    }
  } else {
    const int row = tile.first_row + tile.m * kTileM;
    if constexpr (pair) {
      if (rank == 0 || !half_a) {
        hopper::tma_load_multicast(sa + rank * kBlock, a, full, k0, row + 64 * rank, 0, 0b11);
      }
    } else {
      for (int i = 0; i < (half_a ? 1 : 2); i++) {
        hopper::tma_load(sa + i * kBlock, a, full, k0, row + 64 * i, 0);
      }
    }
    if constexpr (layout == kForward) {
      for (int i = 0; i < (half_b ? 1 : 2); i++) {
        hopper::tma_load(sb + i * (kBytesB / 2), b, full, k0, tile.n * kTileN + 128 * i,
                         tile.group);
      }
    } else if constexpr (layout == kSwiGlu) {
      // 128 columns of gate beside the same 128 of up: a thread then holds both of a pair.
      hopper::tma_load(sb, b, full, k0, tile.n * (kTileN / 2), 2 * tile.group);
      hopper::tma_load(sb + kBytesB / 2, b, full, k0, tile.n * (kTileN / 2), 2 * tile.group + 1);
    } else {
      for (int i = 0; i < (half_b ? 2 : 4); i++) {
        hopper::tma_load(sb + i * kBlock, b, full, tile.n * kTileN + 64 * i, k0, tile.group);
      }
    }
  }
}

#endif  // PERIGEE_HOPPER
}  // namespace grouped
