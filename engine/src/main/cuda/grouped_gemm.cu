// Products of an expert layer: every expert g multiplies its own rows, which lie together in
// memory, by its own matrix. Forward and both gradients are one kernel in three layouts.
//
//   forward          y[r, n]  = sum_k x[r, k]  w[g, n, k]        rows r of g, x and w K-major
//   swiglu forward   h = forward with w[g] = [gate; up]; a = silu(gate) * up   (fused)
//   input gradient   dx[r, n] = sum_k dy[r, k] w[g, k, n]        w N-major
//   weight gradient  dw[g, m, n] = sum_r dy[r, m] x[r, n]        both transposed, sum over rows
//
// The weight gradient comes in bf16, or in float32 where it can be added to the one before it: the
// copy engine adds, so the sum is read by no thread. Where its tiles fit better the other way round,
// the kernel gets dy and x exchanged, and writes each block transposed.
//
// rows of g: offsets[g] <= r < offsets[g + 1], read on the device: no count visits the host, and a
// captured graph replays with other counts. Offsets need no alignment.
//
// One block an SM stays for the whole product and takes tiles of 128 x 256. In its first warp group
// one thread, the dealer, finds the next tile (grouped_deal.cuh), and another, the producer, feeds a
// ring of 64-deep stages through the copy engine. The other two groups own 64 rows each, multiply
// with wgmma into 128 float32 registers a thread, and write bf16 through shared memory. A warp group
// whose rows lie past the expert's end computes nothing, so an expert is padded to 64 rows in
// arithmetic, with zeros, which cost less power than the next expert's numbers, and to none in
// memory: the maps of rows are ragged.
//
// The second-level cache limits this kernel next to power. So two blocks form a pair that shares one
// operand: each fetches half of it and the copy engine writes the half into both. Neighbours along m
// share columns of b, neighbours along n rows of a; grouped_tiles.cuh says which are neighbours.
#include "grouped_deal.cuh"

using namespace grouped;

namespace {

#ifdef PERIGEE_HOPPER

// How a weight gradient is written: in bf16, in bf16 as the transpose of the tiles, or in float32.
enum Output { kPlain, kTransposed, kFloat32 };

// `accumulate`: float32 results are added to what is there.
template <Layout layout, bool pair, Output output = kPlain>
__device__ void multiply(const TensorMap* map_a, const TensorMap* map_b, const TensorMap* map_d,
                         const TensorMap* map_up, const TensorMap* map_act, const int* offsets,
                         Tickets* tickets, int groups, int room, int m, int n, int k,
                         bool accumulate = false) {
  extern __shared__ uint8_t raw[];
  // The swizzle repeats every 1024 bytes of address.
  GroupedShared& s = *reinterpret_cast<GroupedShared*>(raw + hopper::padding(raw, 1024));
  const int warp_group = threadIdx.x / 128;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; i++) {
      hopper::barrier_init(&s.full[i], 1);
      hopper::barrier_init(&s.empty[i], pair ? 16 : 8);  // one arrival a consumer warp
    }
    Deal<layout, pair>::init(s);
    hopper::barrier_init_fence();
    hopper::prefetch_map(map_a);
    hopper::prefetch_map(map_b);
    hopper::prefetch_map(map_d);
  }
  if constexpr (pair) {
    hopper::cluster_sync();
  } else {
    __syncthreads();
  }

  Tile<layout, pair> tile{{}, m, n};
  Deal<layout, pair> deal{s};
  int stage = 0;
  uint32_t phase = 0;
  if (warp_group == 0) {
    hopper::registers_fewer<56>();
    if (threadIdx.x == 0) {
      while (deal.next(tile)) {
        const int depth = tile.depth(k);
        for (int i = 0;; i++) {
          deal.ask(i, depth);
          if (i == depth) {
            break;
          }
          hopper::barrier_wait(&s.empty[stage], phase ^ 1);
          load_stage<layout, pair>(s, stage, map_a, map_b, tile, room, i * kTileK);
          if (++stage == kStages) {
            stage = 0;
            phase ^= 1;
          }
        }
      }
    } else if (threadIdx.x == 32) {
      deal.run(Tiles<layout, pair>(offsets, groups, m, n), tickets);
    }
  } else {
    hopper::registers_more<224>();
    const int consumer = warp_group - 1;
    const int thread = threadIdx.x % 128;
    Writer writer{s, consumer, thread};
    float acc[128];
    while (deal.next_of_consumer(tile)) {
      const int depth = tile.depth(k);
      const int row = tile.m * kTileM + consumer * 64;  // within the group, or of dw
      const int valid = tile.rows_from(consumer);
      const bool narrow = hopper::opaque(tile.narrow());  // half the products
      if (valid > 0 && depth > 0) {
        constexpr bool ta = layout == kWeightGradient;
        constexpr bool tb = layout == kWeightGradient || layout == kInputGradient;
        if (narrow) {
          sum_tile<ta, tb, ta, pair, true>(s, acc, stage, phase, depth, tile.rows, consumer,
                                           thread);
        } else {
          sum_tile<ta, tb, ta, pair, false>(s, acc, stage, phase, depth, tile.rows, consumer,
                                            thread);
        }
      } else {
        for (int i = 0; i < depth; i++) {
          hopper::barrier_wait(&s.full[stage], phase);
          release<pair>(&s.empty[stage], thread);
          if (++stage == kStages) {
            stage = 0;
            phase ^= 1;
          }
        }
        if (valid <= 0) {
          continue;
        }
#pragma unroll
        for (int i = 0; i < 128; i++) {
          acc[i] = 0;  // an expert without rows: its weights' gradient is zero, and is written
        }
      }

      uint32_t packed[16];
      if constexpr (layout == kSwiGlu) {
        const Ragged at = tile.ragged(room, row);
        const int x = tile.n * (kTileN / 2);
#pragma unroll
        for (int c = 0; c < 4; c++) {
          pack_columns(acc, c, packed);
          writer.write(packed, c < 2 ? map_d : map_up, x + 64 * (c & 1), at.y, at.z);
        }
#pragma unroll
        for (int c = 0; c < 2; c++) {
#pragma unroll
          for (int i = 0; i < 16; i++) {
            float value[2];
#pragma unroll
            for (int e = 0; e < 2; e++) {
              const float gate = acc[32 * c + 2 * i + e];
              const float up = acc[64 + 32 * c + 2 * i + e];
              value[e] = up * gate * hopper::sigmoid(gate);
            }
            packed[i] = hopper::pack(value[0], value[1]);
          }
          writer.write(packed, map_act, x + 64 * c, at.y, at.z);
        }
      } else if constexpr (output == kTransposed) {
#pragma unroll
        for (int c = 0; c < 4; c++) {
          if (tile.n * kTileN + 64 * c < n) {
            pack_columns(acc, c, packed);
            writer.write_transposed(packed, map_d, row, tile.n * kTileN + 64 * c, tile.group);
          }
        }
      } else if constexpr (output == kFloat32) {
#pragma unroll
        for (int c = 0; c < 8; c++) {
          if (tile.n * kTileN + 32 * c < n) {
            writer.write_float(acc, c, map_d, tile.n * kTileN + 32 * c, row, tile.group,
                               accumulate);
          }
        }
      } else {
        const Ragged at = tile.ragged(room, row);
        const int y = layout == kWeightGradient ? row : at.y;
        const int z = layout == kWeightGradient ? tile.group : at.z;
#pragma unroll
        for (int c = 0; c < 4; c++) {
          if (tile.n * kTileN + 64 * c < n) {
            pack_columns(acc, c, packed);
            writer.write(packed, map_d, tile.n * kTileN + 64 * c, y, z);
          }
        }
      }
    }
    if (thread == 0) {
      hopper::tma_store_wait_all();
    }
  }
  if constexpr (pair) {
    hopper::cluster_sync();  // the other block may still write into this one's shared memory
  }
}
#endif  // PERIGEE_HOPPER

}  // namespace

#ifdef PERIGEE_HOPPER

// Each layout alone and in pairs.
#define PERIGEE_ROWS(name, layout, pair, cluster)                                                \
  extern "C" __global__ void cluster __launch_bounds__(kThreads, 1)                              \
      name(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,             \
           const __grid_constant__ TensorMap d, const int* offsets, Tickets* tickets, int groups,\
           int room, int n, int k) {                                                             \
    multiply<layout, pair>(&a, &b, &d, nullptr, nullptr, offsets, tickets, groups, room, 0, n, k);\
  }

#define PERIGEE_SWIGLU(name, pair, cluster)                                                      \
  extern "C" __global__ void cluster __launch_bounds__(kThreads, 1)                              \
      name(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w,             \
           const __grid_constant__ TensorMap gate, const __grid_constant__ TensorMap up,         \
           const __grid_constant__ TensorMap a, const int* offsets, Tickets* tickets, int groups,\
           int room, int n, int k) {                                                             \
    multiply<kSwiGlu, pair>(&x, &w, &gate, &up, &a, offsets, tickets, groups, room, 0, n, k);    \
  }

#define PERIGEE_WEIGHTS(name, pair, output, cluster)                                             \
  extern "C" __global__ void cluster __launch_bounds__(kThreads, 1)                              \
      name(const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap x,            \
           const __grid_constant__ TensorMap dw, const int* offsets, Tickets* tickets,           \
           int groups, int m, int n) {                                                           \
    multiply<kWeightGradient, pair, output>(&dy, &x, &dw, nullptr, nullptr, offsets, tickets,    \
                                            groups, 0, m, n, 0);                                 \
  }

#define PERIGEE_WEIGHTS_FLOAT32(name, pair, cluster)                                             \
  extern "C" __global__ void cluster __launch_bounds__(kThreads, 1)                              \
      name(const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap x,            \
           const __grid_constant__ TensorMap dw, const int* offsets, Tickets* tickets,           \
           int groups, int m, int n, int accumulate) {                                           \
    multiply<kWeightGradient, pair, kFloat32>(&dy, &x, &dw, nullptr, nullptr, offsets, tickets,  \
                                              groups, 0, m, n, 0, accumulate != 0);              \
  }

PERIGEE_ROWS(grouped_gemm_forward, kForward, false, )
PERIGEE_ROWS(grouped_gemm_forward_pair, kForward, true, __cluster_dims__(2, 1, 1))
PERIGEE_SWIGLU(grouped_gemm_swiglu, false, )
PERIGEE_SWIGLU(grouped_gemm_swiglu_pair, true, __cluster_dims__(2, 1, 1))
PERIGEE_ROWS(grouped_gemm_input_gradient, kInputGradient, false, )
PERIGEE_ROWS(grouped_gemm_input_gradient_pair, kInputGradient, true, __cluster_dims__(2, 1, 1))
PERIGEE_WEIGHTS(grouped_gemm_weight_gradient, false, kPlain, )
PERIGEE_WEIGHTS(grouped_gemm_weight_gradient_pair, true, kPlain, __cluster_dims__(2, 1, 1))
PERIGEE_WEIGHTS(grouped_gemm_weight_gradient_transposed, false, kTransposed, )
PERIGEE_WEIGHTS(grouped_gemm_weight_gradient_transposed_pair, true, kTransposed,
                __cluster_dims__(2, 1, 1))
PERIGEE_WEIGHTS_FLOAT32(grouped_gemm_weight_gradient_float32, false, )
PERIGEE_WEIGHTS_FLOAT32(grouped_gemm_weight_gradient_float32_pair, true, __cluster_dims__(2, 1, 1))

#endif  // PERIGEE_HOPPER

// ---- The plain twins: the same sums without tensor cores, for any chip. Output in float32. ----

namespace {

template <typename T>
__device__ __forceinline__ float number(T x) {
  return static_cast<float>(x);
}

// out[i, j] for one 16 x 16 tile, summing a(i, k) b(k, j) over k in float32.
template <typename A, typename B>
__device__ float dot_tile(int rows, int columns, int depth, int i, int j, A a, B b) {
  __shared__ float sa[16][17], sb[16][17];
  const int tx = threadIdx.x, ty = threadIdx.y;
  float sum = 0;
  for (int k0 = 0; k0 < depth; k0 += 16) {
    // Tile rows and columns that lie outside, and the end of the sum, count as zero.
    sa[ty][tx] = i < rows && k0 + tx < depth ? a(i, k0 + tx) : 0;
    sb[ty][tx] = j < columns && k0 + ty < depth ? b(k0 + ty, j) : 0;
    __syncthreads();
    for (int k = 0; k < 16; k++) {
      sum = fmaf(sa[ty][k], sb[k][tx], sum);
    }
    __syncthreads();
  }
  return sum;
}

// Grid: x over columns, y over row tiles (each block walks down by gridDim.y), z over experts.
template <typename T, Layout layout>
__device__ void multiply_plain(const T* a, const T* b, float* d, const int* offsets, int m, int n,
                               int k) {
  const int g = blockIdx.z;
  const int first = offsets[g], rows_of_group = offsets[g + 1] - first;
  const int j = blockIdx.x * 16 + threadIdx.x;
  const int rows = layout == kWeightGradient ? m : rows_of_group;
  const int depth = layout == kWeightGradient ? rows_of_group : k;
  for (int i0 = blockIdx.y * 16; i0 < rows; i0 += gridDim.y * 16) {
    const int i = i0 + threadIdx.y;
    const float sum = dot_tile(
        rows, n, depth, i, j,
        [&](int r, int c) {
          return layout == kWeightGradient ? number(a[(long)(first + c) * m + r])
                                           : number(a[(long)(first + r) * k + c]);
        },
        [&](int r, int c) {
          return layout == kForward          ? number(b[((long)g * n + c) * k + r])
                 : layout == kInputGradient ? number(b[((long)g * k + r) * n + c])
                                             : number(b[(long)(first + r) * n + c]);
        });
    if (i < rows && j < n) {
      d[(layout == kWeightGradient ? (long)g * m + i : (long)(first + i)) * n + j] = sum;
    }
  }
}

}  // namespace

#define PERIGEE_PLAIN(name, type, layout)                                                       \
  extern "C" __global__ void name(const type* a, const type* b, float* d, const int* offsets,   \
                                  int m, int n, int k) {                                        \
    multiply_plain<type, layout>(a, b, d, offsets, m, n, k);                                    \
  }

PERIGEE_PLAIN(grouped_gemm_forward_plain, __nv_bfloat16, kForward)
PERIGEE_PLAIN(grouped_gemm_input_gradient_plain, __nv_bfloat16, kInputGradient)
PERIGEE_PLAIN(grouped_gemm_weight_gradient_plain, __nv_bfloat16, kWeightGradient)
PERIGEE_PLAIN(grouped_gemm_forward_float, float, kForward)
PERIGEE_PLAIN(grouped_gemm_input_gradient_float, float, kInputGradient)
PERIGEE_PLAIN(grouped_gemm_weight_gradient_float, float, kWeightGradient)
