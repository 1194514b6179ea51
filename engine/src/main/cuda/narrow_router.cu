// The forward of router.cu for at most 64 experts, on Hopper: a pass over x at the speed of memory.
//
// The tokens are dealt evenly to the blocks, one on each multiprocessor, in passes of at most 248:
// the experts are the product's rows and the tokens its columns, of which there may be any multiple
// of eight, so that w is read once for each pass and all blocks end together. One thread of the last
// warp feeds a ring of 64-deep stages of x and w through the copy engine; two groups of four warps
// multiply half of the columns each with wgmma, lay the scores down by token, and choose, a thread
// for a token: the best of eight experts is kept for each eight, so that a choice looks at eight
// bests and then again at the eight it was among.
#include "wgmma.cuh"

#ifdef PERIGEE_HOPPER

namespace {

constexpr int kTokens = 248;  // of a pass, at most
constexpr int kExperts = 64;
constexpr int kEight = 8;
constexpr int kDepth = 64;
constexpr int kStages = 4;
constexpr int kThreads = 288;
constexpr int kMostChosen = 16;
constexpr int kBytesW = kExperts * kDepth * 2;
constexpr int kBytesHalf = 128 * kDepth * 2;  // of a group's columns
constexpr float kTiny = 1e-20f;

// The second group's last columns, beyond a pass's tokens, are read from w; nobody looks at them.
struct Stage {
  uint8_t x[kTokens * kDepth * 2];
  uint8_t w[kBytesW];
};

struct Shared {
  Stage stages[kStages];
  float scores[8][kExperts][32];  // by warp: its tokens' scores, place() of each
  uint8_t list[256][kMostChosen];  // by token: the chosen
  float bias[kExperts];
  uint64_t full[kStages];
  uint64_t empty[kStages];
};

// Where a token's score lies in its expert's row of 32: neither four experts written at once for
// eight tokens nor 32 tokens read for one expert meet in a bank.
__device__ __forceinline__ int place(int expert, int token) {
  return token ^ 8 * (expert & 3);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    narrow_router_forward(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w,
                          const float* bias, int* expert, float* score, float* weight, int tokens,
                          int of_a_pass, int hidden, int experts, int chosen, float scale) {
  extern __shared__ uint8_t raw[];
  Shared& s = *reinterpret_cast<Shared*>((reinterpret_cast<uintptr_t>(raw) + 1023) & ~1023ull);
  if (threadIdx.x == 0) {
    hopper::prefetch_map(&x);
    hopper::prefetch_map(&w);
    for (int i = 0; i < kStages; i++) {
      hopper::barrier_init(&s.full[i], 1);
      hopper::barrier_init(&s.empty[i], 8);  // one arrival a consumer warp
    }
    hopper::barrier_init_fence();
  }
  if (threadIdx.x < kExperts) {
    // An expert that does not exist is never better than none.
    s.bias[threadIdx.x] = threadIdx.x < experts ? bias[threadIdx.x] : -INFINITY;
  }
  __syncthreads();

  const int steps = (hidden + kDepth - 1) / kDepth;
  const int stride = gridDim.x * of_a_pass;
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
      for (int first = blockIdx.x * of_a_pass; first < tokens; first += stride) {
        for (int i = 0; i < steps; i++, next_stage()) {
          hopper::barrier_wait(&s.empty[stage], phase ^ 1);
          hopper::barrier_expect(&s.full[stage], of_a_pass * kDepth * 2 + kBytesW);
          hopper::tma_load(s.stages[stage].x, &x, &s.full[stage], i * kDepth, first, 0);
          hopper::tma_load(s.stages[stage].w, &w, &s.full[stage], i * kDepth, 0, 0);
        }
      }
    }
    return;
  }

  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int consumer = threadIdx.x / 128;
  const auto release = [&](int stage) {
    if (lane == 0) {
      hopper::barrier_arrive(&s.empty[stage]);
    }
  };
  for (int first = blockIdx.x * of_a_pass; first < tokens; first += stride) {
    float acc[64];
    int before = 0;  // the stage before this one
    for (int i = 0; i < steps; i++) {
      hopper::barrier_wait(&s.full[stage], phase);
      hopper::wgmma_fence();
#pragma unroll
      for (int k = 0; k < kDepth / 16; k++) {
        hopper::wgmma<0, 0>(
            acc, hopper::operand(s.stages[stage].w + 32 * k, 16, 1024),
            hopper::operand(s.stages[stage].x + consumer * kBytesHalf + 32 * k, 16, 1024),
            i + k > 0);
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

    // Words 4 i + 2 h + c of acc are expert 16 (warp % 4) + 8 h + lane / 4 and token 8 i +
    // 2 (lane % 4) + c of the group's.
    hopper::group_sync(1 + consumer, 128);  // everybody has chosen for the pass before
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int e = 16 * (warp % 4) + 8 * h + lane / 4;
#pragma unroll
      for (int i = 0; i < 16; i++) {
        float* row = s.scores[4 * consumer + i / 4][e];
        *reinterpret_cast<float2*>(row + place(e, 8 * (i % 4) + 2 * (lane % 4))) = make_float2(
            hopper::sigmoid(acc[4 * i + 2 * h]), hopper::sigmoid(acc[4 * i + 2 * h + 1]));
      }
    }
    hopper::group_sync(1 + consumer, 128);

    const auto score_of = [&](int e, int token) { return s.scores[warp][e][place(e, token)]; };
    uint64_t taken = 0;  // bit e: expert e is chosen already
    float best[kEight];  // of experts 8 i to 8 i + 7 that are not
    int at[kEight];
    const auto best_of = [&](int i, float& value, int& expert) {
      value = -INFINITY;
      expert = experts;
#pragma unroll
      for (int r = 0; r < kEight; r++) {
        const int e = kEight * i + r;
        const float v = score_of(e, lane) + s.bias[e];
        if (!(taken >> e & 1) && v > value) {  // of equals the first
          value = v;
          expert = e;
        }
      }
    };
#pragma unroll
    for (int i = 0; i < kEight; i++) {
      best_of(i, best[i], at[i]);
    }
    float sum = 0;
    for (int j = 0; j < chosen; j++) {
      float most = -INFINITY;
      int found = experts;
#pragma unroll
      for (int i = 0; i < kEight; i++) {
        if (best[i] > most) {
          most = best[i];
          found = at[i];
        }
      }
      found = min(found, experts - 1);  // where every score is NaN: an expert that exists
      sum += score_of(found, lane);
      s.list[threadIdx.x][j] = found;
      taken |= 1ull << found;
      float again;
      int again_at;
      best_of(found / kEight, again, again_at);
#pragma unroll
      for (int i = 0; i < kEight; i++) {
        if (i == found / kEight) {
          best[i] = again;
          at[i] = again_at;
        }
      }
    }
    __syncwarp();

    // A warp's results lie one after the other.
    const int begin = first + 32 * warp;
    const int there = min(min(32, of_a_pass - 32 * warp), tokens - begin) * chosen;
    for (int i = lane; i - lane < there; i += 32) {
      const int token = min(i / chosen, 31);
      const float all = __shfl_sync(~0u, sum, token);
      if (i < there) {
        const int e = s.list[32 * warp + token][i % chosen];
        const float mine = score_of(e, token);
        const long to = static_cast<long>(begin) * chosen + i;
        expert[to] = e;
        score[to] = mine;
        weight[to] = scale * mine / (all + kTiny);
      }
    }
  }
}

#endif  // PERIGEE_HOPPER
