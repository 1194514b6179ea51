// The input gradient of an expert layer's down projection and the gradient of SwiGLU before it, in
// one kernel: u = dy w2 stays in registers, float32, and the epilogue turns it into what is wanted
// (SonicMoE, section 4.2):
//
//   u[r, f]  = sum_o dy[r, o] w[g, o, f]                rows r of g, as in grouped_gemm.cu
//   dh       = s u (gradient of silu(gate) * up)        gate and up are the halves of a row of h
//   scaled   = s silu(gate) * up                        what the gradient of w2 multiplies with dy
//   dweight += u . silu(gate) * up                      one part for each tile of 256 columns
//
// with s the row's weight; swiglu.cu says why. The blocks of h that a tile needs follow its last
// operands through the same ring of stages, so they are under way while the products still run. A
// warp overwrites its 16 rows of a stage with the results, hands them to the copy engine and gives
// the stage back when that has read them: no barrier between warps, no further shared memory.
#include "grouped_deal.cuh"

#ifdef PERIGEE_HOPPER
using namespace grouped;

namespace {

// Stages of h that follow the operands of a tile, one for 64 columns. A producer asks for its next
// tile among the operands' stages, so these must not be more than it asks ahead.
__device__ __forceinline__ int blocks_of_h(bool narrow) {
  static_assert(kTileN / 64 < Deal<kInputGradient, true>::kAhead);
  return narrow ? kTileN / 128 : kTileN / 64;
}

// Where a stage holds what belongs to a consumer: gate and up, then the results in their places.
__device__ __forceinline__ uint8_t* gate_block(Shared& s, int stage, int consumer) {
  return s.b[stage] + 2 * consumer * kBlock;
}

__device__ __forceinline__ uint8_t* activation_block(Shared& s, int stage, int consumer) {
  return s.a[stage] + consumer * kBlock;
}

// Four words of gate and of up and of u, as float32, to their gradients and the scaled activation.
// Words 0 and 2 lie in the first of the thread's rows, 1 and 3 in the second.
__device__ __forceinline__ void swiglu_gradient(const float* u, const float (&s)[2],
                                                uint32_t (&gate)[4], uint32_t (&up)[4],
                                                uint32_t (&activation)[4], float (&dot)[2]) {
#pragma unroll
  for (int m = 0; m < 4; m++) {
    const float2 g2 = hopper::unpack(gate[m]), p2 = hopper::unpack(up[m]);
    const float g[2] = {g2.x, g2.y}, p[2] = {p2.x, p2.y};
    float dg[2], dp[2], a[2];
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const float sigma = hopper::sigmoid(g[e]);
      const float silu = g[e] * sigma;
      const float act = silu * p[e];
      dot[m & 1] = fmaf(u[2 * m + e], act, dot[m & 1]);
      const float da = s[m & 1] * u[2 * m + e];
      dg[e] = da * p[e] * fmaf(silu, 1.0f - sigma, sigma);
      dp[e] = da * silu;
      a[e] = s[m & 1] * act;
    }
    gate[m] = hopper::pack(dg[0], dg[1]);
    up[m] = hopper::pack(dp[0], dp[1]);
    activation[m] = hopper::pack(a[0], a[1]);
  }
}

struct Operands {
  // Boxes of h are of 64 rows, those of the results of 16.
  const TensorMap *dy, *w, *h, *dgate, *dup, *scaled;
  const int* order;  // null: weights of one, no dweight
  const float* weight;
  float* dweight;  // [tiles along the width, assignments]
};

template <bool pair>
__device__ void swiglu_input_gradient(const Operands& o, const int* offsets, Tickets* tickets,
                                      int groups, int width, int depth, int room) {
  extern __shared__ uint8_t raw[];
  GroupedShared& s = *reinterpret_cast<GroupedShared*>(raw + hopper::padding(raw, 1024));
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; i++) {
      hopper::barrier_init(&s.full[i], 1);
      hopper::barrier_init(&s.empty[i], pair ? 16 : 8);  // one arrival a consumer warp
    }
    Deal<kInputGradient, pair>::init(s);
    hopper::barrier_init_fence();
    for (const TensorMap* map : {o.dy, o.w, o.h, o.dgate, o.dup, o.scaled}) {
      hopper::prefetch_map(map);
    }
  }
  if constexpr (pair) {
    hopper::cluster_sync();
  } else {
    __syncthreads();
  }

  const int stages = (depth + kTileK - 1) / kTileK;
  Tile<kInputGradient, pair> tile{{}, 0, width};
  Deal<kInputGradient, pair> deal{s};
  int stage = 0;
  uint32_t phase = 0;
  const auto next_stage = [&] {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
  };
  if (threadIdx.x < 128) {
    hopper::registers_fewer<56>();
    if (threadIdx.x == 0) {
      while (deal.next(tile)) {
        const int blocks = blocks_of_h(tile.narrow());
        for (int i = 0; i < stages; i++, next_stage()) {
          deal.ask(i, stages + blocks);
          hopper::barrier_wait(&s.empty[stage], phase ^ 1);
          load_stage<kInputGradient, pair>(s, stage, o.dy, o.w, tile, room, i * kTileK);
        }
        const int consumers = tile.low() ? 1 : 2;
        for (int c = 0; c < blocks; c++, next_stage()) {
          hopper::barrier_wait(&s.empty[stage], phase ^ 1);
          hopper::barrier_expect(&s.full[stage], consumers * 2 * kBlock);
          for (int i = 0; i < consumers; i++) {
            for (int half = 0; half < 2; half++) {
              hopper::tma_load(gate_block(s, stage, i) + half * kBlock, o.h, &s.full[stage],
                               tile.n * kTileN + 64 * c, tile.first_row + tile.m * kTileM + 64 * i,
                               half);
            }
          }
        }
      }
    } else if (threadIdx.x == 32) {
      deal.run(Tiles<kInputGradient, pair>(offsets, groups, 0, width), tickets);
    }
  } else {
    hopper::registers_more<224>();
    const int consumer = threadIdx.x / 128 - 1;
    const int thread = threadIdx.x % 128, warp = thread / 32, lane = thread % 32;
    // This lane's place in a block of 16 x 16 numbers, as ldmatrix and stmatrix want it.
    const int block_row = ((lane >> 3) & 1) * 8 + (lane & 7);
    float acc[128];
    while (deal.next_of_consumer(tile)) {
      const int first = tile.m * kTileM + consumer * 64;  // within the group
      const bool narrow = tile.narrow();
      if (tile.rows_from(consumer) <= 0) {
        for (int i = 0; i < stages + blocks_of_h(narrow); i++, next_stage()) {
          hopper::barrier_wait(&s.full[stage], phase);
          release<pair>(&s.empty[stage], thread);
        }
        continue;
      }
      const int valid = tile.rows_from(consumer) - 16 * warp;  // from this warp's first row on
      const int row = tile.first_row + first + 16 * warp;
      const Ragged at_rows = tile.ragged(room, first + 16 * warp);
      int assignment[2] = {};
      float factor[2] = {1, 1};
      if (o.order != nullptr) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const int r = 8 * h + lane / 4;
          assignment[h] = r < valid ? o.order[row + r] : 0;
          factor[h] = r < valid ? o.weight[assignment[h]] : 0;
        }
      }
      if (narrow) {
        sum_tile<false, true, false, pair, true>(s, acc, stage, phase, stages, 0, consumer, thread);
      } else {
        sum_tile<false, true, false, pair, false>(s, acc, stage, phase, stages, 0, consumer,
                                                  thread);
      }
      float dot[2] = {};
      int stored = 0;  // the stage whose results the copy engine still reads
#pragma unroll
      for (int c = 0; c < kTileN / 64; c++) {
        if (c >= blocks_of_h(narrow)) {
          break;
        }
        hopper::barrier_wait(&s.full[stage], phase);
        uint8_t* gate_rows = gate_block(s, stage, consumer) + warp * 16 * 128;
        uint8_t* up_rows = gate_rows + kBlock;
        uint8_t* activation_rows = activation_block(s, stage, consumer) + warp * 16 * 128;
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const int at = block_row * 128 + (((2 * j + (lane >> 4)) ^ (block_row & 7)) << 4);
          uint32_t gate[4], up[4], activation[4];
          hopper::ldmatrix_x4(hopper::shared_address(gate_rows) + at, gate);
          hopper::ldmatrix_x4(hopper::shared_address(up_rows) + at, up);
          swiglu_gradient(acc + 32 * c + 8 * j, factor, gate, up, activation, dot);
          hopper::stmatrix_x4(hopper::shared_address(gate_rows) + at, gate[0], gate[1], gate[2],
                              gate[3]);
          hopper::stmatrix_x4(hopper::shared_address(up_rows) + at, up[0], up[1], up[2], up[3]);
          hopper::stmatrix_x4(hopper::shared_address(activation_rows) + at, activation[0],
                              activation[1], activation[2], activation[3]);
        }
        hopper::async_fence();
        __syncwarp();
        const int x = tile.n * kTileN + 64 * c;
        if (lane == 0) {
          hopper::tma_store(o.dgate, gate_rows, x, at_rows.y, at_rows.z);
          hopper::tma_store(o.dup, up_rows, x, at_rows.y, at_rows.z);
          hopper::tma_store(o.scaled, activation_rows, x, at_rows.y, at_rows.z);
          hopper::tma_store_commit();
          if (c > 0) {
            hopper::tma_store_wait_read<1>();
            release<pair>(&s.empty[stored], thread);
          }
        }
        stored = stage;
        next_stage();
      }
      if (lane == 0) {
        hopper::tma_store_wait_read<0>();
        release<pair>(&s.empty[stored], thread);
      }
      if (o.order != nullptr) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          dot[h] += __shfl_xor_sync(~0u, dot[h], 1);
          dot[h] += __shfl_xor_sync(~0u, dot[h], 2);
          if (lane % 4 == 0 && 8 * h + lane / 4 < valid) {
            o.dweight[static_cast<long>(tile.n) * room + assignment[h]] = dot[h];
          }
        }
      }
    }
    if (lane == 0) {
      hopper::tma_store_wait_all();
    }
  }
  if constexpr (pair) {
    hopper::cluster_sync();  // the other block may still write into this one's shared memory
  }
}

}  // namespace

#define PERIGEE_SWIGLU_GRADIENT(name, pair, cluster)                                            \
  extern "C" __global__ void cluster __launch_bounds__(kThreads, 1)                             \
      name(const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap w,           \
           const __grid_constant__ TensorMap h, const __grid_constant__ TensorMap dgate,        \
           const __grid_constant__ TensorMap dup, const __grid_constant__ TensorMap scaled,     \
           const int* order, const float* weight, float* dweight, const int* offsets,           \
           Tickets* tickets, int groups, int width, int depth, int room) {                      \
    swiglu_input_gradient<pair>({&dy, &w, &h, &dgate, &dup, &scaled, order, weight, dweight},   \
                                offsets, tickets, groups, width, depth, room);                  \
  }

PERIGEE_SWIGLU_GRADIENT(grouped_swiglu_gradient, false, )
PERIGEE_SWIGLU_GRADIENT(grouped_swiglu_gradient_pair, true, __cluster_dims__(2, 1, 1))

#endif  // PERIGEE_HOPPER
