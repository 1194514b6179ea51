// The forward of router.cu for at most 64 experts, on Hopper: a pass over x at the speed of memory.
//
// A block stays on its multiprocessor and walks tiles of 128 tokens. One thread of the last warp
// feeds a ring of 64-deep stages of x and w through the copy engine; two groups of four warps
// multiply 64 tokens each with wgmma. The four lanes that hold a token's 64 logits choose among
// them where they are, in registers, while the next tile's stages arrive.
#include "wgmma.cuh"

#ifdef PERIGEE_HOPPER

namespace {

constexpr int kTokens = 128;  // of a tile
constexpr int kExperts = 64;
constexpr int kDepth = 64;
constexpr int kStages = 8;
constexpr int kThreads = 288;
constexpr int kBytesX = kTokens * kDepth * 2;
constexpr int kBytesW = kExperts * kDepth * 2;
constexpr float kTiny = 1e-20f;

struct Shared {
  uint8_t x[kStages][kBytesX];
  uint8_t w[kStages][kBytesW];
  uint64_t full[kStages];
  uint64_t empty[kStages];
};

// The column of a lane's number i of a row: see hopper.cuh.
__device__ __forceinline__ int column(int i, int lane) {
  return 8 * (i / 2) + 2 * (lane % 4) + i % 2;
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    narrow_router_forward(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w,
                          const float* bias, int* expert, float* score, float* weight, int tokens,
                          int hidden, int experts, int chosen, float scale) {
  extern __shared__ uint8_t raw[];
  Shared& s = *reinterpret_cast<Shared*>((reinterpret_cast<uintptr_t>(raw) + 1023) & ~1023ull);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; i++) {
      hopper::barrier_init(&s.full[i], 1);
      hopper::barrier_init(&s.empty[i], 8);  // one arrival a consumer warp
    }
    hopper::barrier_init_fence();
  }
  __syncthreads();

  const int tiles = (tokens + kTokens - 1) / kTokens;
  const int steps = (hidden + kDepth - 1) / kDepth;
  int stage = 0;
  uint32_t phase = 0;
  const auto next_stage = [&] {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
  };
  if (threadIdx.x >= 256) {
    if (threadIdx.x == 256) {
      for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        for (int i = 0; i < steps; i++, next_stage()) {
          hopper::barrier_wait(&s.empty[stage], phase ^ 1);
          hopper::barrier_expect(&s.full[stage], kBytesX + kBytesW);
          hopper::tma_load(s.x[stage], &x, &s.full[stage], i * kDepth, tile * kTokens, 0);
          hopper::tma_load(s.w[stage], &w, &s.full[stage], i * kDepth, 0, 0);
        }
      }
    }
    return;
  }

  const int lane = threadIdx.x % 32;
  float biases[16];  // of this lane's experts
#pragma unroll
  for (int i = 0; i < 16; i++) {
    biases[i] = column(i, lane) < experts ? bias[column(i, lane)] : -INFINITY;
  }
  const int consumer = threadIdx.x / 128;
  const auto release = [&](int stage) {
    if (lane == 0) {
      hopper::barrier_arrive(&s.empty[stage]);
    }
  };
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    float acc[32];
    int before = 0;  // the stage before this one
    for (int i = 0; i < steps; i++) {
      hopper::barrier_wait(&s.full[stage], phase);
      hopper::wgmma_fence();
#pragma unroll
      for (int k = 0; k < kDepth / 16; k++) {
        hopper::wgmma<0, 0>(
            acc, hopper::operand(s.x[stage] + consumer * (kBytesX / 2) + 32 * k, 16, 1024),
            hopper::operand(s.w[stage] + 32 * k, 16, 1024), i + k > 0);
      }
      hopper::wgmma_commit();
      hopper::wgmma_wait<1>();
      if (i > 0) {
        release(before);
      }
      before = stage;
      next_stage();
    }
    hopper::wgmma_wait<0>();
    release(before);

    // Words 4 j + 2 h + e of acc are row 8 h + lane / 4 of the warp's sixteen.
    float scores[2][16], values[2][16], sum[2] = {};
    long at[2];
    bool there[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int token = tile * kTokens + threadIdx.x / 32 * 16 + 8 * h + lane / 4;
      there[h] = token < tokens;
      at[h] = static_cast<long>(token) * chosen;
#pragma unroll
      for (int i = 0; i < 16; i++) {
        scores[h][i] = 1.0f / (1.0f + expf(-acc[4 * (i / 2) + 2 * h + i % 2]));
        values[h][i] = scores[h][i] + biases[i];
      }
    }
    for (int j = 0; j < chosen; j++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float best = -INFINITY;
        int found = experts;
#pragma unroll
        for (int i = 0; i < 16; i++) {
          if (values[h][i] > best) {
            best = values[h][i];
            found = column(i, lane);
          }
        }
#pragma unroll
        for (int d = 1; d < 4; d *= 2) {
          const float v = __shfl_xor_sync(~0u, best, d);
          const int e = __shfl_xor_sync(~0u, found, d);
          if (v > best || (v == best && e < found)) {  // of equals the first
            best = v;
            found = e;
          }
        }
        found = min(found, experts - 1);  // where every score is NaN: an expert that exists
        float mine = 0;
#pragma unroll
        for (int i = 0; i < 16; i++) {
          if (column(i, lane) == found) {
            mine = scores[h][i];
            values[h][i] = -INFINITY;
          }
        }
        mine += __shfl_xor_sync(~0u, mine, 1);
        mine += __shfl_xor_sync(~0u, mine, 2);
        sum[h] += mine;
        if (there[h] && j % 4 == lane % 4) {
          expert[at[h] + j] = found;
          score[at[h] + j] = mine;
        }
      }
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
      if (there[h]) {
        for (int j = lane % 4; j < chosen; j += 4) {  // those that this lane wrote
          weight[at[h] + j] = scale * score[at[h] + j] / (sum[h] + kTiny);
        }
      }
    }
  }
}

#endif  // PERIGEE_HOPPER
