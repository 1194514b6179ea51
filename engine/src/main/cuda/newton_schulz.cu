// Muon's orthogonalisation of many matrices of one shape at once: the odd quintic iteration
// X <- (a I + b G + c G^2) X with G = X X^T, on whichever side is smaller ("Muon is scalable for LLM
// training", section 2.1).
//
// Completing the square takes the sums of matrices out of the products: with S = G + b / (2 c) I,
//
//   P = a I + b G + c G^2 = c S S + (a - b^2 / (4 c)) I,   X <- P X,
//
// so that a step is three plain products, and what an epilogue adds lies on the diagonal alone.
//
//   symmetric_wide   s[i, j] = factor sum_k x[i, k] x[j, k] + shift (i == j)     x K-major
//   symmetric_tall   the same over rows: sum_k x[k, i] x[k, j]                    x M/N-major
//   product_wide     y[i, j] = factor sum_k p[i, k] x[k, j]
//   product_tall     y[i, j] = factor sum_k x[i, k] p[k, j], p symmetric
//
// The Gram form takes two steps at once, where the second does not touch X (after Dao-AILab's "Gram
// Newton-Schulz"): with R = X X^T, S = R + b / (2 c) I and P made of S as above,
//
//   S' = (P R) P + b / (2 c) I,   P' made of S',   X <- (P P') X.
//
// All of these are polynomials of one symmetric matrix, so they commute and their products are
// symmetric too. R and S differ on the diagonal: the kernels `_two` write both. More than two steps
// at once would cost less still, but rounding to bf16 makes R's smallest eigenvalues negative, and
// the steps blow those up (class Muon).
//
// A symmetric result is computed in tiles that reach the diagonal or lie above it, each block of
// 64 x 64 above the diagonal is stored twice, once transposed: 0.59 of the operations at n = 1408.
// `norm2`, where given, divides: the first step's products act on X / |X| without X ever being
// scaled in memory. Matrices are visited one after the other, so their parts stay in the
// second-level cache.
#include "tile_gemm.cuh"

#ifdef PERIGEE_HOPPER
using namespace tile_gemm;

namespace {

enum Kind { kSymmetricWide, kSymmetricTall, kProductWide, kProductTall };

// Walks the tiles of all matrices; row m of tiles of a symmetric result begins at the diagonal.
template <bool symmetric>
struct Tiles {
  int tiles_m, tiles_n, of_matrix;
  int matrix = 0, m = 0, n = 0;

  __device__ Tiles(int rows, int columns)
      : tiles_m((rows + kTileM - 1) / kTileM), tiles_n((columns + kTileN - 1) / kTileN) {
    of_matrix = tiles_m * tiles_n;
    if (symmetric) {
      of_matrix = 0;
      for (int i = 0; i < tiles_m; i++) {
        of_matrix += tiles_n - i / 2;
      }
    }
  }

  __device__ void seek(int index) {
    matrix = index / of_matrix;
    int at = index % of_matrix;
    if (symmetric) {
      m = 0;
      while (at >= tiles_n - m / 2) {
        at -= tiles_n - m / 2;
        m++;
      }
      n = at + m / 2;
    } else {
      m = at / tiles_n;
      n = at % tiles_n;
    }
  }
};

// d is [matrices, rows, columns]; the sum runs over `depth`.
// `two`: d without the shift goes to map_plain as well.
template <Kind kind, bool two>
__device__ void multiply(const TensorMap* map_a, const TensorMap* map_b, const TensorMap* map_d,
                         const TensorMap* map_plain, const float* norm2, int matrices, int rows, int columns, int depth,
                         float factor, float shift, float power) {
  constexpr bool kSymmetric = kind == kSymmetricWide || kind == kSymmetricTall;
  constexpr bool kTransposeA = kind == kSymmetricTall;
  constexpr bool kTransposeB = kind == kSymmetricTall || kind == kProductWide;
  extern __shared__ uint8_t raw[];
  Shared& s = *reinterpret_cast<Shared*>(raw + hopper::padding(raw, 1024));
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; i++) {
      hopper::barrier_init(&s.full[i], 1);
      hopper::barrier_init(&s.empty[i], 8);
    }
    hopper::barrier_init_fence();
    hopper::prefetch_map(map_a);
    hopper::prefetch_map(map_b);
    hopper::prefetch_map(map_d);
  }
  __syncthreads();

  Tiles<kSymmetric> tile(rows, columns);
  const int tiles = matrices * tile.of_matrix;
  const int stages = (depth + kTileK - 1) / kTileK;
  int stage = 0;
  uint32_t phase = 0;
  if (threadIdx.x < 128) {
    hopper::registers_fewer<40>();
    if (threadIdx.x == 0) {
      for (int index = blockIdx.x; index < tiles; index += gridDim.x) {
        tile.seek(index);
        for (int i = 0; i < stages; i++) {
          const int k = i * kTileK;
          hopper::barrier_wait(&s.empty[stage], phase ^ 1);
          uint64_t* full = &s.full[stage];
          hopper::barrier_expect(full, kBytesA + kBytesB);
          if constexpr (kTransposeA) {
            for (int j = 0; j < kTileM / 64; j++) {
              hopper::tma_load(s.a[stage] + j * kBlock, map_a, full, tile.m * kTileM + 64 * j, k,
                               tile.matrix);
            }
          } else {
            hopper::tma_load(s.a[stage], map_a, full, k, tile.m * kTileM, tile.matrix);
          }
          if constexpr (kTransposeB) {
            for (int j = 0; j < kTileN / 64; j++) {
              hopper::tma_load(s.b[stage] + j * kBlock, map_b, full, tile.n * kTileN + 64 * j, k,
                               tile.matrix);
            }
          } else {
            hopper::tma_load(s.b[stage], map_b, full, k, tile.n * kTileN, tile.matrix);
          }
          if (++stage == kStages) {
            stage = 0;
            phase ^= 1;
          }
        }
      }
    }
  } else {
    hopper::registers_more<232>();
    const int consumer = threadIdx.x / 128 - 1;
    const int thread = threadIdx.x % 128;
    Writer writer{s, consumer, thread};
    float acc[128];
    for (int index = blockIdx.x; index < tiles; index += gridDim.x) {
      tile.seek(index);
      const int row = tile.m * kTileM + consumer * 64;
      const int column = tile.n * kTileN;
      if (columns - column <= kTileN / 2) {
        sum_tile<kTransposeA, kTransposeB, false, false, true>(s, acc, stage, phase, stages, 0,
                                                               consumer, thread);
      } else {
        sum_tile<kTransposeA, kTransposeB, false, false, false>(s, acc, stage, phase, stages, 0,
                                                                consumer, thread);
      }
      const float scale = norm2 == nullptr ? factor : factor * powf(norm2[tile.matrix], power);
      const int r = row + thread / 32 * 16 + thread % 32 / 4;
      const int q = column + thread % 4 * 2;
      uint32_t packed[16];
#pragma unroll
      for (int c = 0; c < 4; c++) {
        const int x = column + 64 * c;
        if (x < columns && row < rows && (!kSymmetric || x >= row)) {
#pragma unroll
          for (int o = 0; o < (two ? 2 : 1); o++) {
            const TensorMap* map = o == 0 ? map_d : map_plain;
            const float diagonal = kSymmetric && o == 0 ? shift : 0;
#pragma unroll
            for (int i = 0; i < 16; i++) {  // as pack_columns
              const int at = 32 * c + 2 * i;
              const int beyond = r + i % 2 * 8 - (q + at / 4 * 8);
              packed[i] = hopper::pack(fmaf(scale, acc[at], beyond == 0 ? diagonal : 0),
                                       fmaf(scale, acc[at + 1], beyond == 1 ? diagonal : 0));
            }
            writer.write(packed, map, x, row, tile.matrix);
            if (kSymmetric && x > row) {
              writer.write_transposed(packed, map, row, x, tile.matrix);
            }
          }
        }
      }
    }
    if (thread == 0) {
      hopper::tma_store_wait_all();
    }
  }
}

}  // namespace

#define PERIGEE_NEWTON_SCHULZ(name, kind)                                                       \
  extern "C" __global__ void __launch_bounds__(kThreads, 1)                                     \
      name(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,            \
           const __grid_constant__ TensorMap d, const float* norm2, int matrices, int rows,     \
           int columns, int depth, float factor, float shift, float power) {                    \
    multiply<kind, false>(&a, &b, &d, nullptr, norm2, matrices, rows, columns, depth, factor,   \
                          shift, power);                                                        \
  }

#define PERIGEE_NEWTON_SCHULZ_TWO(name, kind)                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads, 1)                                     \
      name(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,            \
           const __grid_constant__ TensorMap d, const float* norm2, int matrices, int rows,     \
           int columns, int depth, float factor, float shift, float power,                      \
           const __grid_constant__ TensorMap plain) {                                           \
    multiply<kind, true>(&a, &b, &d, &plain, norm2, matrices, rows, columns, depth, factor,     \
                         shift, power);                                                         \
  }

PERIGEE_NEWTON_SCHULZ(newton_schulz_symmetric_wide, kSymmetricWide)
PERIGEE_NEWTON_SCHULZ(newton_schulz_symmetric_tall, kSymmetricTall)
PERIGEE_NEWTON_SCHULZ_TWO(newton_schulz_symmetric_wide_two, kSymmetricWide)
PERIGEE_NEWTON_SCHULZ_TWO(newton_schulz_symmetric_tall_two, kSymmetricTall)
PERIGEE_NEWTON_SCHULZ(newton_schulz_product_wide, kProductWide)
PERIGEE_NEWTON_SCHULZ(newton_schulz_product_tall, kProductTall)

#endif  // PERIGEE_HOPPER
