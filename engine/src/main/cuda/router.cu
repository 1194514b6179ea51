// The router of a mixture of experts (DeepSeek-V3, section 2.1.2, without groups): scores are
// sigmoids, a bias that only the choice sees balances the load, and the chosen scores are normalised.
//
//   score[t, e] = sigmoid(sum_h x[t, h] w[e, h])
//   expert[t, :] = the k experts with the largest score + bias, the largest first
//   weight[t, j] = scale * score[t, expert[t, j]] / sum_j score[t, expert[t, j]]
//
// Logits stay in float32: rounding them would change who is chosen.
#include <cuda_bf16.h>
#include <math.h>
#include <stdint.h>

namespace {

constexpr int kTokens = 32;   // of a block
constexpr int kExperts = 64;  // of a tile of the product
constexpr int kDepth = 64;
constexpr int kPitch = kDepth / 2 + 4;  // words of a shared row: the rows of a fragment differ in bank
constexpr int kStages = 4;  // of which all but one are under way while one is multiplied
constexpr float kTiny = 1e-20f;

// Starts copying eight bf16 numbers of row `row` from column `column`, zero outside.
__device__ __forceinline__ void fetch_eight(uint32_t* to, const __nv_bfloat16* x, int row, int rows,
                                            int column, int columns) {
  const bool there = row < rows && column < columns;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(there ? x + (long)row * columns + column : x), "r"(there ? 16 : 0)
               : "memory");
}

// c[16 x 8] += a[16 x 16] b[16 x 8] on tensor cores: products of bf16 are exact, sums float32.
__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                    uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace

// 256 threads; dynamic shared memory: the stages, then kTokens x experts scores.
extern "C" __global__ void __launch_bounds__(256)
    router_forward(const __nv_bfloat16* x, const __nv_bfloat16* w, const float* bias, int* expert,
                   float* score, float* weight, int tokens, int hidden, int experts, int chosen,
                   float scale) {
  using TileX = uint32_t[kTokens][kPitch];  // pairs of bf16
  using TileW = uint32_t[kExperts][kPitch];
  extern __shared__ uint32_t shared[];
  TileX* sx = reinterpret_cast<TileX*>(shared);
  TileW* sw = reinterpret_cast<TileW*>(sx + kStages);
  float* scores = reinterpret_cast<float*>(sw + kStages);  // [kTokens][experts]
  const int first = blockIdx.x * kTokens;
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t4 = threadIdx.x % 4;
  const int m0 = warp % 2 * 16, n0 = warp / 2 * 16;  // a warp's 16 tokens and 16 experts
  const int row = threadIdx.x / 8, column = threadIdx.x % 8 * 8;
  const int steps = (hidden + kDepth - 1) / kDepth;
  for (int e0 = 0; e0 < experts; e0 += kExperts) {
    float acc[2][4] = {};
    const auto fetch = [&](int step) {
      if (step < steps) {
        const int k = step * kDepth + column;
        fetch_eight(&sx[step % kStages][row][column / 2], x, first + row, tokens, k, hidden);
#pragma unroll
        for (int r = row; r < kExperts; r += 32) {
          fetch_eight(&sw[step % kStages][r][column / 2], w, e0 + r, experts, k, hidden);
        }
      }
      asm volatile("cp.async.commit_group;" ::: "memory");  // empty or not: the wait counts groups
    };
    __syncthreads();  // the tiles of the experts before are used up
    for (int step = 0; step < kStages - 1; step++) {
      fetch(step);
    }
    for (int step = 0; step < steps; step++) {
      asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 2) : "memory");
      __syncthreads();
      fetch(step + kStages - 1);  // into the stage that everybody has left
      const TileX& tx = sx[step % kStages];
      const TileW& tw = sw[step % kStages];
#pragma unroll
      for (int i = 0; i < kDepth / 2; i += 8) {
        const uint32_t a[4] = {tx[m0 + g][i + t4], tx[m0 + g + 8][i + t4], tx[m0 + g][i + t4 + 4],
                               tx[m0 + g + 8][i + t4 + 4]};
#pragma unroll
        for (int n = 0; n < 2; n++) {
          mma(acc[n], a, tw[n0 + 8 * n + g][i + t4], tw[n0 + 8 * n + g][i + t4 + 4]);
        }
      }
    }
#pragma unroll
    for (int n = 0; n < 2; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int e = e0 + n0 + 8 * n + 2 * t4 + i % 2;
        if (e < experts) {
          scores[(m0 + g + i / 2 * 8) * experts + e] = 1.0f / (1.0f + expf(-acc[n][i]));
        }
      }
    }
  }
  __syncthreads();

  // A warp chooses for its four tokens at once, whose maxima do not wait for each other: `chosen`
  // rounds of a maximum over the experts.
  constexpr int kAtOnce = kTokens / 8;
  const int lane = threadIdx.x % 32;
  const float* s = scores + threadIdx.x / 32 * kAtOnce * experts;
  float sum[kAtOnce] = {}, mine[kAtOnce] = {};
  int my_expert[kAtOnce] = {};
  uint32_t taken[kAtOnce] = {};  // bit i: expert 32 i + lane is chosen already
  for (int j = 0; j < chosen; j++) {
    float best[kAtOnce];
    int at[kAtOnce];
#pragma unroll
    for (int t = 0; t < kAtOnce; t++) {
      best[t] = -INFINITY;
      at[t] = experts;
    }
    for (int i = 0; 32 * i + lane < experts; i++) {
      const float b = __ldg(&bias[32 * i + lane]);
#pragma unroll
      for (int t = 0; t < kAtOnce; t++) {
        const float v = s[t * experts + 32 * i + lane] + b;
        if (!(taken[t] >> i & 1) && v > best[t]) {
          best[t] = v;
          at[t] = 32 * i + lane;
        }
      }
    }
    for (int d = 16; d > 0; d /= 2) {
#pragma unroll
      for (int t = 0; t < kAtOnce; t++) {
        const float v = __shfl_xor_sync(~0u, best[t], d);
        const int a = __shfl_xor_sync(~0u, at[t], d);
        if (v > best[t] || (v == best[t] && a < at[t])) {  // of equals the first
          best[t] = v;
          at[t] = a;
        }
      }
    }
#pragma unroll
    for (int t = 0; t < kAtOnce; t++) {
      at[t] = min(at[t], experts - 1);  // where every score is NaN: an expert that exists
      if (at[t] % 32 == lane) {
        taken[t] |= 1u << (at[t] / 32);
      }
      const float found = s[t * experts + at[t]];
      sum[t] += found;
      if (lane == j) {
        mine[t] = found;
        my_expert[t] = at[t];
      }
    }
  }
#pragma unroll
  for (int t = 0; t < kAtOnce; t++) {
    const int token = first + threadIdx.x / 32 * kAtOnce + t;
    if (lane < chosen && token < tokens) {
      const long i = (long)token * chosen + lane;
      expert[i] = my_expert[t];
      score[i] = mine[t];
      weight[i] = scale * mine[t] / (sum[t] + kTiny);
    }
  }
}

// dlogit[t, e] from dweight[t, j], the sum over its parts [parts, t, j]; zero for experts that were not
// chosen. A warp a token.
extern "C" __global__ void __launch_bounds__(256)
    router_backward(const int* expert, const float* score, const float* dweight,
                    __nv_bfloat16* dlogit, int parts, int tokens, int experts, int chosen,
                    float scale) {
  const int t = blockIdx.x * 8 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (t >= tokens) {
    return;
  }
  const bool mine = lane < chosen;
  const long i = (long)t * chosen + lane;
  const float s = mine ? score[i] : 0;
  float d = 0;
  for (int p = 0; mine && p < parts; p++) {
    d += dweight[(long)p * tokens * chosen + i];
  }
  float sum = s, dot = s * d;
  for (int step = 16; step > 0; step /= 2) {
    sum += __shfl_xor_sync(~0u, sum, step);
    dot += __shfl_xor_sync(~0u, dot, step);
  }
  sum += kTiny;
  // weight_j = scale s_j / S: d s_j = scale (d_j / S - sum_i d_i s_i / S^2), then the sigmoid's.
  const float ds = scale * (d - dot / sum) / sum * s * (1 - s);
  __nv_bfloat16* row = dlogit + (long)t * experts;
  for (int e = lane; e < experts; e += 32) {
    row[e] = __float2bfloat16(0);
  }
  __syncwarp();
  if (mine) {
    row[expert[i]] = __float2bfloat16(ds);
  }
}

// w[i] = the sum over p of parts[p, i], four numbers a thread: see Router.weightGradient.
extern "C" __global__ void __launch_bounds__(256)
    router_sum_parts(const float4* parts, uint2* w, int quads, int count) {
  const int i = blockIdx.x * 256 + threadIdx.x;
  if (i >= quads) {
    return;
  }
  float4 sum = {};
#pragma unroll 8
  for (int p = 0; p < count; p++) {
    const float4 x = parts[static_cast<long>(p) * quads + i];
    sum.x += x.x;
    sum.y += x.y;
    sum.z += x.z;
    sum.w += x.w;
  }
  const __nv_bfloat162 low = __floats2bfloat162_rn(sum.x, sum.y);
  const __nv_bfloat162 high = __floats2bfloat162_rn(sum.z, sum.w);
  w[i] = make_uint2(reinterpret_cast<const uint32_t&>(low), reinterpret_cast<const uint32_t&>(high));
}
