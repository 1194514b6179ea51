// Which block of an expert layer's product takes which tile.
//
// The first tile of each block, or pair, is that of its number; for further ones tickets are drawn,
// so that tiles are begun in their order however long each takes. Tiles that share operands are then
// under way together. Dealt out beforehand, blocks drift apart by more than the second-level cache
// holds, and weights come from memory once for each row of tiles.
//
// One thread of each block, the dealer, finds the tiles; the first block's draws for both of a pair.
// It does so when the producer asks, a few stages before it needs another tile: a ticket drawn early
// would be an old one when its turn comes.
#pragma once
#include "grouped_tiles.cuh"

#ifdef PERIGEE_HOPPER
namespace grouped {

// In device memory, one for each stream, so that no two products use it at a time. Zero between them.
struct Tickets {
  int drawn;
};

// What the ring of stages leaves of the shared memory.
struct GroupedShared : Shared {
  Place place;            // of the tile that is dealt
  int ticket;
  uint64_t dealt;         // a place is there
  uint64_t asked;         // consumers have it, and the producer is soon through
  uint64_t ticket_there;  // in the second block
  uint64_t ticket_read;   // in the first: the second has it
};

// What a role of a block keeps of the dealing.
template <Layout layout, bool pair>
struct Deal {
  static constexpr int kBlocks = pair ? 2 : 1;
  static constexpr int kWords = sizeof(Place) / sizeof(int);
  static constexpr int kAhead = 6;  // stages, in which a ticket can be drawn and its tile be found
  GroupedShared& s;
  uint32_t phase = 0;  // of the next tile

  __device__ static void init(GroupedShared& s) {
    hopper::barrier_init(&s.dealt, 1);
    hopper::barrier_init(&s.asked, 9);  // the consumers' warps and the producer
    hopper::barrier_init(&s.ticket_there, 1);
    hopper::barrier_init(&s.ticket_read, 1);
  }

  // The dealer: until no tile is left.
  __device__ void run(Tiles<layout, pair> tile, Tickets* tickets) {
    const int walkers = gridDim.x / kBlocks;
    const bool draws = blockIdx.x % kBlocks == 0;
    int index = blockIdx.x / kBlocks;
    while (true) {
      tile.seek(index);
      s.place = tile;
      hopper::barrier_arrive(&s.dealt);
      if (!tile.exists) {
        break;
      }
      hopper::barrier_wait(&s.asked, phase);
      if (draws) {
        index = walkers + atomicAdd(&tickets->drawn, 1);
        if constexpr (pair) {
          hopper::barrier_wait(&s.ticket_read, phase ^ 1);
          hopper::store_at(&s.ticket, index, &s.ticket_there, 1);
        }
      } else {
        hopper::barrier_expect(&s.ticket_there, sizeof(int));
        hopper::barrier_wait(&s.ticket_there, phase);
        index = hopper::load_shared(&s.ticket);
        hopper::barrier_arrive_at(&s.ticket_read, 0);
      }
      phase ^= 1;
    }
    // A ticket was drawn for every tile, so this one is the last.
    if (draws && index == walkers + tile.before - 1) {
      tickets->drawn = 0;
    }
  }

  // A consumer's threads. One of each warp reads, and says so: a barrier orders what the thread that
  // arrives has read, and no more.
  __device__ bool next_of_consumer(Tile<layout, pair>& tile) {
    if (threadIdx.x % 32 == 0) {
      read(tile);
      hopper::barrier_arrive(&s.asked);
    }
    __syncwarp();
    int* words = reinterpret_cast<int*>(static_cast<Place*>(&tile));
#pragma unroll
    for (int i = 0; i < kWords; i++) {
      words[i] = __shfl_sync(~0u, words[i], 0);
    }
    phase ^= 1;
    return tile.exists;
  }

  // The producer, which asks for the one after it.
  __device__ bool next(Tile<layout, pair>& tile) {
    read(tile);
    phase ^= 1;
    return tile.exists;
  }

  // The producer before stage i of `depth`, or where there is none.
  __device__ void ask(int i, int depth) {
    if (i == max(depth - kAhead, 0)) {
      hopper::barrier_arrive(&s.asked);
    }
  }

 private:
  __device__ void read(Place& place) const {
    hopper::barrier_wait(&s.dealt, phase);
    int* words = reinterpret_cast<int*>(&place);
#pragma unroll
    for (int i = 0; i < kWords; i++) {
      words[i] = hopper::load_shared(reinterpret_cast<const int*>(&s.place) + i);
    }
  }
};

}  // namespace grouped
#endif  // PERIGEE_HOPPER
