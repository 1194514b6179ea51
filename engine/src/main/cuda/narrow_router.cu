// The forward of router.cu for at most 64 experts, on Hopper: a pass over x at the speed of memory.
//
// The tokens are dealt evenly to the blocks, one on each multiprocessor, in passes of at most 128:
// the experts are the product's rows and the tokens its columns, of which there may be any multiple
// of eight. One thread of the last warp feeds a ring of 64-deep stages of x and w through the copy
// engine, pass after pass; two groups of four warps take turns, so that one chooses while the other
// multiplies what arrives: it lays the scores down by token, and a thread chooses for a token. The
// best of experts is kept for each eight, so that a choice looks at eight bests and then again at
// the eight it was among.
#include "wgmma.cuh"

#ifdef PERIGEE_HOPPER

namespace {

constexpr int kTokens = 128;  // of a pass, at most
constexpr int kExperts = 64;
constexpr int kEight = 8;
constexpr int kDepth = 64;
constexpr int kStages = 5;
constexpr int kThreads = 288;
constexpr int kMostChosen = 16;
constexpr int kBytesW = kExperts * kDepth * 2;
constexpr float kTiny = 1e-20f;

// Columns beyond a pass's tokens hold what was there before; nobody looks at their scores.
struct Stage {
  uint8_t x[kTokens * kDepth * 2];
  uint8_t w[kBytesW];
};

struct Shared {
  Stage stages[kStages];
  float scores[8][kExperts][32];  // by warp: its tokens' scores, place() of each
  float bias[kExperts];
  float chosen_score[8][32 * kMostChosen];  // by warp: what was chosen for its tokens, in order
  uint8_t chosen_expert[8][32 * kMostChosen];
  float factor[8][32];  // of a token's scores: its weights
  uint64_t full[kStages];
  uint64_t empty[kStages];
  uint64_t turn[2];  // of a group: the other has seen all stages of its pass
};

// Where a token's score lies in its expert's row of 32: neither four experts written at once for
// eight tokens nor 32 tokens read for one expert meet in a bank.
__device__ __forceinline__ int place(int expert, int token) {
  return token ^ 8 * (expert & 3);
}

// A place in the ring, and how often it has come round.
struct Ring {
  int stage = 0;
  uint32_t phase = 0;

  __device__ __forceinline__ void move(int stages) {
    stage += stages;
    phase ^= stage / kStages & 1;
    stage %= kStages;
  }
};

struct Best {
  float value;
  int expert;
};

// The largest of eight values, none of them NaN, and its expert: of equals the first.
__device__ __forceinline__ Best best(const float (&value)[kEight], const int (&expert)[kEight]) {
  float v[kEight];
  int e[kEight];
#pragma unroll
  for (int i = 0; i < kEight; i++) {
    v[i] = value[i];
    e[i] = expert[i];
  }
#pragma unroll
  for (int d = 1; d < kEight; d *= 2) {
#pragma unroll
    for (int i = 0; i < kEight; i += 2 * d) {
      const bool later = v[i + d] > v[i];
      v[i] = later ? v[i + d] : v[i];
      e[i] = later ? e[i + d] : e[i];
    }
  }
  return {v[0], e[0]};
}

// The best of experts 8 i to 8 i + 7. NaN is never better than another: of a token without sense, and
// where an expert is chosen already.
template <typename Score>
__device__ __forceinline__ Best best_of(int i, Score score, const float* bias) {
  const float4 low = *reinterpret_cast<const float4*>(bias + kEight * i);
  const float4 high = *reinterpret_cast<const float4*>(bias + kEight * i + 4);
  const float biases[kEight] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
  float value[kEight];
  int expert[kEight];
#pragma unroll
  for (int r = 0; r < kEight; r++) {
    expert[r] = kEight * i + r;
    value[r] = fmaxf(score(expert[r]) + biases[r], -INFINITY);  // drops NaN
  }
  return best(value, expert);
}

// The best of each eight experts.
struct Eights {
  float value[kExperts / kEight];
  int expert[kExperts / kEight];
};

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    narrow_router_forward(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w,
                          const float* bias, int* expert, float* score, float* weight, int tokens,
                          int of_a_pass, int hidden, int experts, int chosen, float scale) {
  extern __shared__ uint8_t raw[];
  Shared& s = *reinterpret_cast<Shared*>(raw + hopper::padding(raw, 1024));
  if (threadIdx.x == 0) {
    hopper::prefetch_map(&x);
    hopper::prefetch_map(&w);
    for (int i = 0; i < kStages; i++) {
      hopper::barrier_init(&s.full[i], 1);
      hopper::barrier_init(&s.empty[i], 4);  // one arrival a warp of the group whose turn it is
    }
    hopper::barrier_init(&s.turn[0], 4);
    hopper::barrier_init(&s.turn[1], 4);
    hopper::barrier_init_fence();
  }
  if (threadIdx.x < kExperts) {
    // An expert that does not exist is never better than none.
    s.bias[threadIdx.x] = threadIdx.x < experts ? bias[threadIdx.x] : -INFINITY;
  }
  __syncthreads();

  const int steps = (hidden + kDepth - 1) / kDepth;
  const int stride = gridDim.x * of_a_pass;
  Ring ring;
  if (threadIdx.x >= 256) {
    if (threadIdx.x == 256) {
      for (int first = blockIdx.x * of_a_pass; first < tokens; first += stride) {
        for (int i = 0; i < steps; i++, ring.move(1)) {
          uint64_t* full = &s.full[ring.stage];
          hopper::barrier_wait(&s.empty[ring.stage], ring.phase ^ 1);
          hopper::barrier_expect(full, of_a_pass * kDepth * 2 + kBytesW);
          hopper::tma_load(s.stages[ring.stage].x, &x, full, i * kDepth, first, 0);
          hopper::tma_load(s.stages[ring.stage].w, &w, full, i * kDepth, 0, 0);
        }
      }
    }
    return;
  }

  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int reciprocal = 65536 / chosen + 1;  // exact for the 512 results of a warp
  const int group = threadIdx.x / 128;
  const auto release = [&](int stage) {
    if (lane == 0) {
      hopper::barrier_arrive(&s.empty[stage]);
    }
  };
  ring.move(group * steps);
  int pass = 0;  // of this group
  for (int first = blockIdx.x * of_a_pass + group * stride; first < tokens;
       first += 2 * stride, pass++) {
    // A barrier's phases are told apart by their parity alone, so nobody may look far ahead.
    if (group == 1 || pass > 0) {
      hopper::barrier_wait(&s.turn[group], (pass - (group == 0)) & 1);
    }
    float acc[64];
    int before = 0;  // the stage before this one
    for (int i = 0; i < steps; i++) {
      hopper::barrier_wait(&s.full[ring.stage], ring.phase);
      hopper::wgmma_fence();
#pragma unroll
      for (int k = 0; k < kDepth / 16; k++) {
        hopper::wgmma<0, 0>(
            acc, hopper::operand(s.stages[ring.stage].w + 32 * k, 16, 1024),
            hopper::operand(s.stages[ring.stage].x + 32 * k, 16, 1024), i + k > 0);
      }
      hopper::wgmma_commit();
      hopper::wgmma_wait<1>();
      if (i > 0) {
        release(before);
      }
      before = ring.stage;
      ring.move(1);
    }
    if (lane == 0) {
      hopper::barrier_arrive(&s.turn[1 - group]);
    }
    hopper::wgmma_wait<0>();
    release(before);
    ring.move(steps);  // the other group's

    // Words 4 i + 2 h + c of acc are expert 16 (warp % 4) + 8 h + lane / 4 and token 8 i +
    // 2 (lane % 4) + c of the pass.
    hopper::group_sync(1 + group, 128);  // everybody has chosen for the pass before
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int e = 16 * (warp % 4) + 8 * h + lane / 4;
#pragma unroll
      for (int i = 0; i < 16; i++) {
        float* row = s.scores[4 * group + i / 4][e];
        *reinterpret_cast<float2*>(row + place(e, 8 * (i % 4) + 2 * (lane % 4))) = make_float2(
            hopper::sigmoid(acc[4 * i + 2 * h]), hopper::sigmoid(acc[4 * i + 2 * h + 1]));
      }
    }
    hopper::group_sync(1 + group, 128);

    const auto score_of = [&](int e) -> float& { return s.scores[warp][e][place(e, lane)]; };
    Eights eights;
#pragma unroll
    for (int i = 0; i < kExperts / kEight; i++) {
      const Best b = best_of(i, score_of, s.bias);
      eights.value[i] = b.value;
      eights.expert[i] = b.expert;
    }
    float sum = 0;
    for (int j = 0; j < chosen; j++) {
      // Where every score is NaN: an expert that exists.
      const int found = min(best(eights.value, eights.expert).expert, experts - 1);
      const float mine = score_of(found);
      score_of(found) = NAN;
      sum += mine;
      s.chosen_score[warp][lane * chosen + j] = mine;
      s.chosen_expert[warp][lane * chosen + j] = found;
      if (j + 1 == chosen) {
        break;  // nobody looks again
      }
      const int eight = found / kEight;
      const Best b = best_of(eight, score_of, s.bias);
#pragma unroll
      for (int i = 0; i < kExperts / kEight; i++) {
        if (i == eight) {
          eights.value[i] = b.value;
          eights.expert[i] = b.expert;
        }
      }
    }
    s.factor[warp][lane] = scale / (sum + kTiny);
    __syncwarp();

    // A warp's results lie one after the other.
    const int before_it = 32 * (warp % 4);  // tokens of the pass
    const int begin = first + before_it;
    const int there = min(min(32, of_a_pass - before_it), tokens - begin) * chosen;
    for (int of_32 = 0; of_32 < there; of_32 += 32) {
      const int i = of_32 + lane;
      const float mine = s.chosen_score[warp][i];
      const int its_expert = s.chosen_expert[warp][i];
      const float its_factor = s.factor[warp][i * reciprocal >> 16];
      if (i < there) {
        const long to = static_cast<long>(begin) * chosen + i;
        expert[to] = its_expert;
        score[to] = mine;
        weight[to] = mine * its_factor;
      }
    }
  }
}

#endif  // PERIGEE_HOPPER
