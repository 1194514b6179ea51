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
//
// Two tiles of a pair lie side by side along the longer side of a group's tiles, `across`, where they
// share the operand that is theirs in common: rows of a, or for the weight gradient columns of b.
// What is left over there (an odd tile, a narrow last one, whose block would wait for its partner)
// pairs along the other side, `turned`, and shares the other operand; where that comes out odd too,
// a block has a tile that lies outside, and rests.
template <Layout layout, bool pair>
struct Tiles {
  const int* offsets;
  int walkers;                 // blocks or pairs
  int groups, m_all, n_all;
  int group = 0, before = 0;   // tiles, or pairs of them, of all groups before `group`
  int first_row = 0, rows = 0;  // of `group`
  int m = 0, n = 0;             // the tile within the group
  bool turned = false;

  __device__ Tiles(const int* offsets, int walkers, int groups, int m, int n)
      : offsets(offsets),
        walkers(walkers),
        groups(groups),
        m_all(m),
        n_all(n) {
    load();
  }

  // Tiles of the weight gradient's dw along m, and of any product along n.
  __device__ int tiles_m() const { return (m_all + kTileM - 1) / kTileM; }
  __device__ int width() const {
    return layout == kSwiGlu ? (n_all + kTileN / 2 - 1) / (kTileN / 2) : (n_all + kTileN - 1) / kTileN;
  }
  // At most half of the columns of the last tile exist.
  __device__ bool last_is_narrow() const {
    return layout != kSwiGlu && n_all % kTileN != 0 && n_all % kTileN <= kTileN / 2;
  }
  // Of the tiles across, those that pair with a neighbour.
  __device__ int straight() const {
    return layout == kWeightGradient ? tiles_m() / 2 * 2 : (width() - last_is_narrow()) / 2 * 2;
  }

  __device__ void load() {
    if (group < groups) {
      first_row = offsets[group];
      rows = offsets[group + 1] - first_row;
    }
  }

  // Tiles of the group along the side that pairs lie along, and along the other one.
  __device__ int across() const { return layout == kWeightGradient ? tiles_m() : width(); }
  __device__ int down() const {
    return layout == kWeightGradient ? width() : (rows + kTileM - 1) / kTileM;
  }

  __device__ int in_group() const {
    return pair ? down() * (straight() / 2) + (across() - straight()) * ((down() + 1) / 2)
                : down() * across();
  }

  // Moves to tile `index` of the whole product; false past the last.
  __device__ bool seek(int index) {
    while (group < groups && index - before >= in_group()) {
      before += in_group();
      group++;
      load();
    }
    if (group == groups) {
      return false;
    }
    int at = index - before, i, j;  // i: the tile's place across, j: down
    if constexpr (pair) {
      const int rank = blockIdx.x % 2;
      const int pairs = down() * (straight() / 2);
      turned = at >= pairs;
      if (!turned) {
        place(at, straight() / 2, i, j);
        i = 2 * i + rank;
      } else {
        const int halves = (down() + 1) / 2;
        i = straight() + (at - pairs) / halves;
        j = (at - pairs) % halves * 2 + rank;
      }
    } else {
      place(at, across(), i, j);
      if (last_is_narrow() && layout != kWeightGradient) {
        // Rows of tiles start at another column each time the walkers come round, or the same
        // walkers would have the narrow ones every time.
        i = (i + (at - i) / walkers) % width();
      }
    }
    m = layout == kWeightGradient ? i : j;
    n = layout == kWeightGradient ? j : i;
    return true;
  }

  // Tiles follow each other along n, then along m.
  __device__ void place(int at, int across, int& i, int& j) const {
    if (layout == kWeightGradient) {
      i = at / down();
      j = at % down();
    } else {
      i = at % across;
      j = at / across;
    }
  }

  __device__ int depth(int k) const {
    return ((layout == kWeightGradient ? rows : k) + kTileK - 1) / kTileK;
  }
};

// Loads the blocks of a tile of one operand into `to`, `bytes` each: all `count` of them, or where two
// blocks share the operand every second one for both.
template <bool shared, typename Coordinates>
__device__ __forceinline__ void load_blocks(uint8_t* to, int bytes, int count, const TensorMap* map,
                                            uint64_t* full, Coordinates at) {
  for (int i = shared ? blockIdx.x % 2 : 0; i < count; i += shared ? 2 : 1) {
    const int3 c = at(i);
    if constexpr (shared) {
      hopper::tma_load_multicast(to + i * bytes, map, full, c.x, c.y, c.z, 0b11);
    } else {
      hopper::tma_load(to + i * bytes, map, full, c.x, c.y, c.z);
    }
  }
}

// The producer: fills one stage. Halves of a tile that lie outside are not fetched.
template <Layout layout, bool share_a, bool share_b>
__device__ __forceinline__ void load_operands(uint8_t* sa, uint8_t* sb, uint64_t* full,
                                              const TensorMap* a, const TensorMap* b, int m, int n,
                                              int group, int first_row, int k0, bool half_a,
                                              bool half_b) {
  const int row = first_row + m * kTileM;
  if constexpr (layout == kWeightGradient) {
    load_blocks<share_a>(sa, kBlock, half_a ? 1 : 2, a, full, [&](int i) {
      return make_int3(m * kTileM + 64 * i, first_row + k0, 0);
    });
    load_blocks<share_b>(sb, kBlock, half_b ? 2 : 4, b, full, [&](int i) {
      return make_int3(n * kTileN + 64 * i, first_row + k0, 0);
    });
    return;
  }
  load_blocks<share_a>(sa, kBlock, half_a ? 1 : 2, a, full,
                       [&](int i) { return make_int3(k0, row + 64 * i, 0); });
  if constexpr (layout == kForward) {
    load_blocks<share_b>(sb, kBytesB / 2, half_b ? 1 : 2, b, full,
                         [&](int i) { return make_int3(k0, n * kTileN + 128 * i, group); });
  } else if constexpr (layout == kSwiGlu) {
    // 128 columns of gate beside the same 128 of up: a thread then holds both of a pair.
    load_blocks<share_b>(sb, kBytesB / 2, 2, b, full, [&](int i) {
      return make_int3(k0, n * (kTileN / 2), 2 * group + i);
    });
  } else if constexpr (layout == kInputGradient) {
    load_blocks<share_b>(sb, kBlock, half_b ? 2 : 4, b, full,
                         [&](int i) { return make_int3(n * kTileN + 64 * i, k0, group); });
  }
}

template <Layout layout, bool pair>
__device__ void load_stage(Shared& s, int stage, const TensorMap* a, const TensorMap* b,
                           const Tiles<layout, pair>& tile, int k0, bool half_a, bool half_b) {
  uint64_t* full = &s.full[stage];
  uint8_t* sa = s.a[stage];
  uint8_t* sb = s.b[stage];
  constexpr bool weights = layout == kWeightGradient;
  hopper::barrier_expect(full, (half_a ? kBytesA / 2 : kBytesA) + (half_b ? kBytesB / 2 : kBytesB));
  if (pair && tile.turned) {
    load_operands<layout, pair && weights, pair && !weights>(
        sa, sb, full, a, b, tile.m, tile.n, tile.group, tile.first_row, k0, half_a, half_b);
  } else {
    load_operands<layout, pair && !weights, pair && weights>(
        sa, sb, full, a, b, tile.m, tile.n, tile.group, tile.first_row, k0, half_a, half_b);
  }
}

#endif  // PERIGEE_HOPPER
}  // namespace grouped
