// One tile of a product on Hopper: 128 x 256 numbers of d = a b, summed in float32 over stages of 64.
//
// A block has three warp groups. The first is the producer: one thread feeds a ring of stages
// through the copy engine. The other two own 64 rows each, multiply with wgmma into 128 float32
// registers a thread (sum_tile), and hand blocks of 64 x 64 bf16, or 64 x 32 float32, through shared
// memory to the copy engine (Writer). Which tiles a block visits, and what the stages hold, is the
// affair of the kernels that include this.
#pragma once
#include "hopper.cuh"

#ifdef PERIGEE_HOPPER
namespace tile_gemm {

constexpr int kTileM = 128;
constexpr int kTileN = 256;
constexpr int kTileK = 64;
constexpr int kStages = 4;
constexpr int kBytesA = kTileM * kTileK * 2;
constexpr int kBytesB = kTileN * kTileK * 2;
constexpr int kBlock = 64 * 64 * 2;  // 64 x 64 bf16: a block of an M/N-major tile, or of an output
constexpr int kThreads = 384;

struct Shared {
  uint8_t a[kStages][kBytesA];
  uint8_t b[kStages][kBytesB];
  uint8_t out[2][2][kBlock];  // two buffers for each consumer
  uint64_t full[kStages];
  uint64_t empty[kStages];
};

// Rows of an M/N-major block from `row` to the next multiple of 16, where a product's terms end,
// become zero: the next expert's rows, or memory that nothing wrote. The swizzle permutes within
// rows of 128 bytes, so the rows lie together.
__device__ __forceinline__ void zero_rows(uint8_t* block, int row, int thread) {
  const int end = (row + 15) / 16 * 16;
  for (int at = row * 128 + thread * 16; at < end * 128; at += 128 * 16) {
    *reinterpret_cast<uint4*>(block + at) = make_uint4(0, 0, 0, 0);
  }
}

// Blocks of a consumer's 64 rows: registers to shared memory to device memory. The copy engine clips
// what lies outside the tensor.
struct Writer {
  Shared& s;
  int consumer, thread;
  int turn = 0;

  // The buffer of this turn, free to be overwritten.
  __device__ uint8_t* buffer() {
    uint8_t* b = s.out[consumer][turn & 1];
    turn++;
    if (thread == 0) {
      hopper::tma_store_wait_read<1>();
    }
    hopper::group_sync(1 + consumer, 128);
    return b;
  }

  // What the threads wrote into a buffer is there for the copy engine.
  __device__ void written() {
    hopper::async_fence();
    hopper::group_sync(1 + consumer, 128);
  }

  // 64 columns as bf16.
  __device__ void write(const uint32_t (&packed)[16], const TensorMap* map, int x, int y, int z) {
    uint8_t* buffer = this->buffer();
    const int lane = thread & 31;
    const int row = (thread >> 5) * 16 + ((lane >> 3) & 1) * 8 + (lane & 7);
    const uint32_t base = hopper::shared_address(buffer) + row * 128;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int unit = 2 * j + (lane >> 4);
      hopper::stmatrix_x4(base + ((unit ^ (row & 7)) << 4), packed[4 * j], packed[4 * j + 1],
                          packed[4 * j + 2], packed[4 * j + 3]);
    }
    written();
    if (thread == 0) {
      hopper::tma_store(map, buffer, x, y, z);
      hopper::tma_store_commit();
    }
  }

  // The transpose of 64 columns as bf16: column x + i becomes row i of the block at (x, y).
  __device__ void write_transposed(const uint32_t (&packed)[16], const TensorMap* map, int x, int y,
                                   int z) {
    uint8_t* buffer = this->buffer();
    const int lane = thread & 31;
    const uint32_t base = hopper::shared_address(buffer);
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int row = 16 * j + 8 * (lane >> 4) + (lane & 7);
      const int unit = 2 * (thread >> 5) + ((lane >> 3) & 1);
      hopper::stmatrix_transposed_x4(base + row * 128 + ((unit ^ (row & 7)) << 4), packed[4 * j],
                                     packed[4 * j + 1], packed[4 * j + 2], packed[4 * j + 3]);
    }
    written();
    if (thread == 0) {
      hopper::tma_store(map, buffer, x, y, z);
      hopper::tma_store_commit();
    }
  }

  // 32 columns as float32, d[16 c] and on; `accumulate`: added to what is there.
  __device__ void write_float(const float (&d)[128], int c, const TensorMap* map, int x, int y,
                              int z, bool accumulate) {
    uint8_t* buffer = this->buffer();
    const int lane = thread & 31;
#pragma unroll
    for (int j = 0; j < 4; j++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int row = (thread >> 5) * 16 + 8 * h + (lane >> 2);
        const int unit = 2 * j + ((lane & 3) >> 1);
        *reinterpret_cast<float2*>(buffer + row * 128 + ((unit ^ (row & 7)) << 4) + (lane & 1) * 8) =
            make_float2(d[16 * c + 4 * j + 2 * h], d[16 * c + 4 * j + 2 * h + 1]);
      }
    }
    written();
    if (thread == 0) {
      if (accumulate) {
        hopper::tma_add(map, buffer, x, y, z);
      } else {
        hopper::tma_store(map, buffer, x, y, z);
      }
      hopper::tma_store_commit();
    }
  }
};

// Registers of columns 64 c to 64 c + 63 as bf16 pairs in the order that stmatrix wants.
__device__ __forceinline__ void pack_columns(const float (&d)[128], int c, uint32_t (&packed)[16]) {
#pragma unroll
  for (int i = 0; i < 16; i++) {
    packed[i] = hopper::pack(d[32 * c + 2 * i], d[32 * c + 2 * i + 1]);
  }
}

// A consumer warp is done with a stage: in a pair both producers write into it.
template <bool pair>
__device__ __forceinline__ void release(uint64_t* empty, int thread) {
  if (thread % 32 == 0) {
    if constexpr (pair) {
      hopper::barrier_arrive_at(empty, 0);
      hopper::barrier_arrive_at(empty, 1);
    } else {
      hopper::barrier_arrive(empty);
    }
  }
}

// acc += the first 16 x `terms` terms of a stage; `first`: acc is overwritten. `narrow`: only the
// first 128 columns. A transposed operand is M/N-major in memory.
template <bool kTransposeA, bool kTransposeB, bool narrow, int terms>
__device__ __forceinline__ void multiply_stage(const uint8_t* sa, const uint8_t* sb,
                                               float (&acc)[128], bool first) {
  // 16 further along K: 32 bytes of each row, or 16 rows of 128 bytes.
  constexpr int kStepA = kTransposeA ? 2048 : 32, kStepB = kTransposeB ? 2048 : 32;
  const uint64_t first_a = hopper::operand(sa, kTransposeA ? kBlock : 16, 1024);
  const uint64_t first_b = hopper::operand(sb, kTransposeB ? kBlock : 16, 1024);
  hopper::wgmma_fence();
#pragma unroll
  for (int kk = 0; kk < terms; kk++) {
    const uint64_t a = hopper::moved(first_a, kk * kStepA), b = hopper::moved(first_b, kk * kStepB);
    if constexpr (narrow) {
      hopper::wgmma_64x128x16<kTransposeA, kTransposeB>(acc, a, b, kk > 0 || !first);
    } else {
      hopper::wgmma_64x256x16<kTransposeA, kTransposeB>(acc, a, b, kk > 0 || !first);
    }
  }
  hopper::wgmma_commit();
}

// A consumer: acc = its 64 rows of a tile, over `depth` stages from `stage` on. `masked`: the sum
// ends after `rows` terms, whatever the last stage holds beyond (both operands are transposed), and
// sixteenths that lie beyond cost no product.
template <bool kTransposeA, bool kTransposeB, bool masked, bool pair, bool narrow>
__device__ __forceinline__ void sum_tile(Shared& s, float (&acc)[128], int& stage, uint32_t& phase,
                                         int depth, int rows, int consumer, int thread) {
  const auto before = [&] { return stage == 0 ? kStages - 1 : stage - 1; };
  const auto next_stage = [&] {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
  };
  // A last, part stage of a masked sum comes by itself.
  const int whole = masked ? rows / kTileK : depth;
  for (int i = 0; i < whole; i++) {
    hopper::barrier_wait(&s.full[stage], phase);
    multiply_stage<kTransposeA, kTransposeB, narrow, kTileK / 16>(
        s.a[stage] + consumer * kBlock,  // 64 rows K-major, or one M-major block
        s.b[stage], acc, i == 0);
    // The stage before this one is free once its products are done; this one still runs.
    hopper::wgmma_wait<1>();
    if (i > 0) {
      release<pair>(&s.empty[before()], thread);
    }
    next_stage();
  }
  hopper::wgmma_wait<0>();
  if (whole > 0) {
    release<pair>(&s.empty[before()], thread);
  }
  if constexpr (masked) {
    if (rows % kTileK == 0) {
      return;
    }
    hopper::barrier_wait(&s.full[stage], phase);
    if (rows % 16 != 0) {
      zero_rows(s.a[stage] + consumer * kBlock, rows % kTileK, thread);
      for (int j = 0; j < kTileN / 64; j++) {
        zero_rows(s.b[stage] + j * kBlock, rows % kTileK, thread);
      }
      hopper::async_fence();
      hopper::group_sync(1 + consumer, 128);
    }
#pragma unroll 1  // four copies of it would cost registers
    for (int k = 0; k < rows % kTileK; k += 16) {
      multiply_stage<kTransposeA, kTransposeB, narrow, 1>(
          s.a[stage] + consumer * kBlock + k * 128, s.b[stage] + k * 128, acc, rows < kTileK && k == 0);
      hopper::wgmma_wait<1>();
    }
    hopper::wgmma_wait<0>();
    release<pair>(&s.empty[stage], thread);
    next_stage();
  }
}

}  // namespace tile_gemm
#endif  // PERIGEE_HOPPER
