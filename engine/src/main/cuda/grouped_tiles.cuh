// The walk over an expert layer's tiles and the loading of their stages, for the kernels of
// grouped_gemm.cu and grouped_swiglu_gradient.cu, which explain the layouts and the pairs.
#pragma once
#include "tile_gemm.cuh"

namespace grouped {

enum Layout { kForward, kSwiGlu, kInputGradient, kWeightGradient };

#ifdef PERIGEE_HOPPER

using namespace tile_gemm;

// Rows of tiles, or of pairs of them, that are walked together: about as many as the columns that the
// walkers then cover, so that they read as little as possible at a time.
constexpr int kBand = 8;

// Coordinates in a ragged map of rows of all experts (TensorMap.ragged in Java): what lies past the
// expert's last row reads as zero and is not written. `y` reaches the map's end, `room`, with that
// row, and z makes up for it.
struct Ragged {
  int y, z;
};

// Walks the tiles of all experts in order; every role of a block walks the same sequence, and so do
// both blocks of a pair, each on its own tile of two.
//
// Two tiles of a pair lie one below the other, where they share the columns of b: the wider operand,
// so that a pair fetches a fifth less than side by side. What is left over at a group's bottom (an
// odd tile, or one of at most half the height, whose block would wait for its partner) pairs along
// n, `turned`, and shares rows of a; where that comes out odd, a block has a tile that lies outside,
// and rests.
template <Layout layout, bool pair>
struct Tiles {
  const int* offsets;
  int groups, m_all, n_all;
  int group = 0, before = 0;    // tiles, or pairs of them, of all groups before `group`
  int first_row = 0, rows = 0;  // of `group`
  int m = 0, n = 0;             // the tile within the group
  bool turned = false;

  __device__ Tiles(const int* offsets, int groups, int m, int n)
      : offsets(offsets),
        groups(groups),
        m_all(m),
        n_all(n) {
    load();
  }

  __device__ void load() {
    if (group < groups) {
      first_row = offsets[group];
      rows = offsets[group + 1] - first_row;
    }
  }

  // Rows of the group's result: of dw, or the group's own.
  __device__ int height() const { return layout == kWeightGradient ? m_all : rows; }

  // Tiles of a group along m and n.
  __device__ int down() const { return (height() + kTileM - 1) / kTileM; }
  __device__ int across() const {
    return layout == kSwiGlu ? (n_all + kTileN / 2 - 1) / (kTileN / 2) : (n_all + kTileN - 1) / kTileN;
  }

  // Of the tiles along m, those that pair with the one below or above.
  __device__ int straight() const {
    const int last = height() % kTileM;
    return (down() - (last != 0 && last <= kTileM / 2)) / 2 * 2;
  }

  __device__ int in_group() const {
    return pair ? straight() / 2 * across() + (down() - straight()) * ((across() + 1) / 2)
                : down() * across();
  }

  // Tile `at` of `rows_of_tiles` by across(): in bands of kBand rows, in each along m before n.
  __device__ int2 in_bands(int at, int rows_of_tiles) const {
    const int first = at / (kBand * across()) * kBand;
    const int high = min(kBand, rows_of_tiles - first);
    const int rest = at - first * across();
    return make_int2(first + rest % high, rest / high);
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
    const int at = index - before;
    if constexpr (pair) {
      const int rank = blockIdx.x % 2;
      const int pairs = straight() / 2 * across();
      turned = at >= pairs;
      if (!turned) {
        const int2 place = in_bands(at, straight() / 2);
        m = place.x * 2 + rank;
        n = place.y;
      } else {
        const int halves = (across() + 1) / 2;
        m = straight() + (at - pairs) / halves;
        n = (at - pairs) % halves * 2 + rank;
      }
    } else {
      const int2 place = in_bands(at, down());
      m = place.x;
      n = place.y;
    }
    return true;
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

// In device memory, one for each stream: what no two products may use at a time. Zero between them.
struct Tickets {
  int drawn;
};

// What the ring of stages leaves of the shared memory.
struct GroupedShared : Shared {
  int ticket;
  uint64_t drawn;  // each block's own: the ticket is there
  uint64_t read;   // the first block's: every reader has it
};

// Who takes which tile. The first tile of each walker is that of its number; further ones are drawn,
// so that tiles are begun in their order however long each takes, and those that share operands are
// under way together: dealt out beforehand, walkers drift apart by more than the second-level cache
// holds, and weights are read from memory once for each row of tiles. The first block's producer
// draws for both of a pair.
template <bool pair>
struct Walk {
  static constexpr int kBlocks = pair ? 2 : 1;
  GroupedShared& s;
  Tickets* tickets;
  uint32_t phase = 0;  // of the next ticket

  __device__ static void init(GroupedShared& s) {
    hopper::barrier_init(&s.drawn, 1);
    hopper::barrier_init(&s.read, 8 * kBlocks + kBlocks - 1);  // consumer warps, the other producer
  }

  __device__ static int walkers() { return gridDim.x / kBlocks; }
  __device__ static int first() { return blockIdx.x / kBlocks; }
  __device__ static bool leads() { return blockIdx.x % kBlocks == 0; }

  // The first block's producer: asks for a tile.
  __device__ int draw() const { return walkers() + atomicAdd(&tickets->drawn, 1); }

  // The stage of `depth` before which it asks: a ticket drawn early would be an old one when its turn
  // comes, one drawn late would be waited for.
  __device__ static int asks_before(int depth) { return max(depth - 3, 0); }

  // A producer: hands the drawn tile to every reader, or waits for it.
  __device__ int next_of_producer(int drawn) {
    hopper::barrier_expect(&s.drawn, sizeof(int));
    if (leads()) {
      hopper::barrier_wait(&s.read, phase ^ 1);
#pragma unroll
      for (int block = 0; block < kBlocks; block++) {
        hopper::store_at(&s.ticket, drawn, &s.drawn, block);
      }
      phase ^= 1;
      return drawn;
    }
    const int index = read();
    done_reading();
    return index;
  }

  // A consumer's threads.
  __device__ int next_of_consumer() {
    const int index = read();
    __syncwarp();
    done_reading();
    return index;
  }

  // The first block's producer, past the last of all `tiles`: who drew the last ticket puts all of
  // them back. Every tile's walker has drawn one, so that many were drawn.
  __device__ void put_back(int drawn, int tiles) const {
    if (leads() && drawn == walkers() + tiles - 1) {
      tickets->drawn = 0;
    }
  }

 private:
  __device__ int read() {
    hopper::barrier_wait(&s.drawn, phase);
    return *const_cast<volatile int*>(&s.ticket);
  }

  __device__ void done_reading() {
    if (threadIdx.x % 32 == 0) {
      if constexpr (pair) {
        hopper::barrier_arrive_at(&s.read, 0);
      } else {
        hopper::barrier_arrive(&s.read);
      }
    }
    phase ^= 1;
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
                           const Tiles<layout, pair>& tile, int room, int k0) {
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
