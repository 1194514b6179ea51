// An expert layer's tiles, their order and the loading of their stages, for the kernels of
// grouped_gemm.cu and grouped_swiglu_gradient.cu, which explain the layouts and the pairs.
// grouped_deal.cuh says which block takes which tile.
#pragma once
#include "tile_gemm.cuh"

namespace grouped {

enum Layout { kForward, kSwiGlu, kInputGradient, kWeightGradient };

#ifdef PERIGEE_HOPPER

using namespace tile_gemm;

// Rows of tiles, or of pairs of them, in a band: about as many as the columns of tiles that all blocks
// are then at, so that they read as little as possible at a time.
constexpr int kBand = 8;

// Coordinates in a ragged map of rows of all experts (TensorMap.ragged in Java): what lies past the
// expert's last row reads as zero and is not written. `y` reaches the map's end, `room`, with that
// row, and z makes up for it.
struct Ragged {
  int y, z;
};

// Where a tile is: its group, that group's rows, and its place among the group's tiles.
struct Place {
  int group, first_row, rows;
  int m, n;
  int turned;  // of a pair that lies along n
  int exists;  // 0: no tile is left
};

// A tile of the product.
template <Layout layout, bool pair>
struct Tile : Place {
  int m_all, n_all;

  // Rows of the group's result: of dw, or the group's own.
  __device__ int height() const { return layout == kWeightGradient ? m_all : rows; }

  // Tiles of a group along m and n.
  __device__ int down() const { return (height() + kTileM - 1) / kTileM; }
  __device__ int across() const {
    return layout == kSwiGlu ? (n_all + kTileN / 2 - 1) / (kTileN / 2) : (n_all + kTileN - 1) / kTileN;
  }

  // At most half of the columns of tile n exist.
  __device__ bool is_narrow(int n) const {
    return layout != kSwiGlu && n_all - n * kTileN <= kTileN / 2;
  }

  // Nobody needs the second half of the tile's columns, nor its partner's: both blocks of a pair
  // walk the same stages.
  __device__ bool narrow() const { return is_narrow(pair && turned ? n / 2 * 2 : n); }

  // At most half of the tile's rows exist.
  __device__ bool low() const { return height() - m * kTileM <= kTileM / 2; }

  // Rows of the result from a consumer's first one on; none where a block has nothing to do.
  __device__ int rows_from(int consumer) const {
    return pair && n >= across() ? 0 : height() - m * kTileM - consumer * 64;
  }

  __device__ int depth(int k) const {
    return ((layout == kWeightGradient ? rows : k) + kTileK - 1) / kTileK;
  }

  // Where `row` of the group is in a ragged map, y and z: see Ragged.
  __device__ Ragged ragged(int room, int row) const {
    return {room - rows + row, first_row + rows};
  }
};

// The tiles of all experts in order.
//
// Two tiles of a pair lie one below the other, where they share the columns of b: the wider operand,
// so that a pair fetches a fifth less than side by side. What is left over at a group's bottom (an
// odd tile, or one of at most half the height, whose block would wait for its partner) pairs along
// n, `turned`, and shares rows of a; where that comes out odd, a block has a tile that lies outside,
// and rests.
template <Layout layout, bool pair>
struct Tiles : Tile<layout, pair> {
  using Base = Tile<layout, pair>;
  const int* offsets;
  int groups;
  int before = 0;  // tiles, or pairs of them, of all groups before this tile's

  __device__ Tiles(const int* offsets, int groups, int m, int n)
      : Base{{}, m, n}, offsets(offsets), groups(groups) {
    load();
  }

  __device__ void load() {
    if (this->group < groups) {
      this->first_row = offsets[this->group];
      this->rows = offsets[this->group + 1] - this->first_row;
    }
  }

  // Of the tiles along m, those that pair with the one below or above.
  __device__ int straight() const {
    const int last = this->height() % kTileM;
    return (this->down() - (last != 0 && last <= kTileM / 2)) / 2 * 2;
  }

  __device__ int in_group() const {
    const int across = this->across();
    return pair ? straight() / 2 * across + (this->down() - straight()) * ((across + 1) / 2)
                : this->down() * across;
  }

  // Tile `at` of `rows_of_tiles` by across(), along m before n within each band of rows.
  __device__ int2 in_bands(int at, int rows_of_tiles) const {
    const int first = at / (kBand * this->across()) * kBand;
    const int high = min(kBand, rows_of_tiles - first);
    const int rest = at - first * this->across();
    return make_int2(first + rest % high, rest / high);
  }

  // Moves to tile `index` of the whole product, or past the last.
  __device__ void seek(int index) {
    while (this->group < groups && index - before >= in_group()) {
      before += in_group();
      this->group++;
      load();
    }
    this->exists = this->group < groups;
    if (!this->exists) {
      return;
    }
    const int at = index - before;
    const int pairs = pair ? straight() / 2 * this->across() : 0;
    this->turned = pair && at >= pairs;
    if (this->turned) {
      const int halves = (this->across() + 1) / 2;
      this->m = straight() + (at - pairs) / halves;
      this->n = (at - pairs) % halves * 2 + blockIdx.x % 2;
    } else {
      const int2 place = in_bands(at, pair ? straight() / 2 : this->down());
      this->m = pair ? place.x * 2 + blockIdx.x % 2 : place.x;
      this->n = place.y;
    }
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

// The producer: fills one stage. Halves of a tile that lie outside are not fetched. `at`: the tile's
// first row of a, which is ragged in all layouts but the weight gradient's.
template <Layout layout, bool share_a, bool share_b>
__device__ __forceinline__ void load_operands(uint8_t* sa, uint8_t* sb, uint64_t* full,
                                              const TensorMap* a, const TensorMap* b, int m, int n,
                                              int group, int first_row, Ragged at, int k0,
                                              bool half_a, bool half_b) {
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
                       [&](int i) { return make_int3(k0, at.y + 64 * i, at.z); });
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
                           const Tile<layout, pair>& tile, int room, int k0) {
  uint64_t* full = &s.full[stage];
  uint8_t* sa = s.a[stage];
  uint8_t* sb = s.b[stage];
  const bool half_a = tile.low(), half_b = tile.narrow();
  const Ragged at = tile.ragged(room, tile.m * kTileM);
  hopper::barrier_expect(full, (half_a ? kBytesA / 2 : kBytesA) + (half_b ? kBytesB / 2 : kBytesB));
  if (pair && tile.turned) {
    load_operands<layout, pair, false>(sa, sb, full, a, b, tile.m, tile.n, tile.group,
                                       tile.first_row, at, k0, half_a, half_b);
  } else {
    load_operands<layout, false, pair>(sa, sb, full, a, b, tile.m, tile.n, tile.group,
                                       tile.first_row, at, k0, half_a, half_b);
  }
}

#endif  // PERIGEE_HOPPER
}  // namespace grouped
