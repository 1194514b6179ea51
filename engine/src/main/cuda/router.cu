// The router of a mixture of experts (DeepSeek-V3, section 2.1.2, without groups): scores are
// sigmoids, a bias that only the choice sees balances the load, and the chosen scores are normalised.
//
//   score[t, e] = sigmoid(sum_h x[t, h] w[e, h])
//   expert[t, :] = the k experts with the largest score + bias, the largest first
//   weight[t, j] = scale * score[t, expert[t, j]] / sum_j score[t, expert[t, j]]
//
// Sums are in float32: a rounding of the logits would change who is chosen.
#include <cuda_bf16.h>
#include <math.h>
#include <stdint.h>

namespace {

constexpr int kTokens = 64;   // of a block
constexpr int kExperts = 64;  // of a tile of the product
constexpr int kDepth = 32;
constexpr int kPitch = 68;    // words of a shared row: 16-byte aligned, and banks differ
constexpr float kTiny = 1e-20f;

// Eight bf16 numbers of row `row` from column `column`, zero outside.
__device__ __forceinline__ uint4 eight(const __nv_bfloat16* x, int row, int rows, int column,
                                       int columns) {
  return row < rows && column < columns
             ? __ldg(reinterpret_cast<const uint4*>(x + (long)row * columns + column))
             : make_uint4(0, 0, 0, 0);
}

__device__ __forceinline__ void spread(uint4 v, float (*to)[kPitch], int column, int row) {
  const __nv_bfloat162* p = reinterpret_cast<const __nv_bfloat162*>(&v);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float2 f = __bfloat1622float2(p[i]);
    to[column + 2 * i][row] = f.x;
    to[column + 2 * i + 1][row] = f.y;
  }
}

}  // namespace

// 256 threads; dynamic shared memory for kTokens x experts scores.
extern "C" __global__ void __launch_bounds__(256)
    router_forward(const __nv_bfloat16* x, const __nv_bfloat16* w, const float* bias, int* expert,
                   float* score, float* weight, int tokens, int hidden, int experts, int chosen,
                   float scale) {
  __shared__ float sx[kDepth][kPitch], sw[kDepth][kPitch];
  extern __shared__ float scores[];  // [kTokens][experts]
  const int first = blockIdx.x * kTokens;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  const int row = threadIdx.x / 4, column = threadIdx.x % 4 * 8;
  for (int e0 = 0; e0 < experts; e0 += kExperts) {
    float acc[4][4] = {};
    uint4 next_x = eight(x, first + row, tokens, column, hidden);
    uint4 next_w = eight(w, e0 + row, experts, column, hidden);
    for (int k = 0; k < hidden; k += kDepth) {
      __syncthreads();
      spread(next_x, sx, column, row);
      spread(next_w, sw, column, row);
      __syncthreads();
      next_x = eight(x, first + row, tokens, k + kDepth + column, hidden);
      next_w = eight(w, e0 + row, experts, k + kDepth + column, hidden);
#pragma unroll
      for (int i = 0; i < kDepth; i++) {
        const float4 a = *reinterpret_cast<const float4*>(&sx[i][4 * ty]);
        const float4 b = *reinterpret_cast<const float4*>(&sw[i][4 * tx]);
        const float av[4] = {a.x, a.y, a.z, a.w}, bv[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
        for (int p = 0; p < 4; p++) {
#pragma unroll
          for (int q = 0; q < 4; q++) {
            acc[p][q] = fmaf(av[p], bv[q], acc[p][q]);
          }
        }
      }
    }
#pragma unroll
    for (int p = 0; p < 4; p++) {
#pragma unroll
      for (int q = 0; q < 4; q++) {
        if (e0 + 4 * tx + q < experts) {
          scores[(4 * ty + p) * experts + e0 + 4 * tx + q] = 1.0f / (1.0f + expf(-acc[p][q]));
        }
      }
    }
  }
  __syncthreads();

  // A warp chooses for one token at a time: `chosen` rounds of a maximum over the experts.
  const int lane = threadIdx.x % 32;
  for (int t = threadIdx.x / 32; t < kTokens && first + t < tokens; t += 8) {
    const float* s = scores + t * experts;
    float sum = 0, mine = 0;
    int my_expert = 0;
    uint32_t taken = 0;  // bit i: expert 32 i + lane is chosen already
    for (int j = 0; j < chosen; j++) {
      float best = -INFINITY;
      int at = experts;
      for (int i = 0; 32 * i + lane < experts; i++) {
        const float v = s[32 * i + lane] + bias[32 * i + lane];
        if (!(taken >> i & 1) && v > best) {
          best = v;
          at = 32 * i + lane;
        }
      }
      for (int d = 16; d > 0; d /= 2) {
        const float v = __shfl_xor_sync(~0u, best, d);
        const int a = __shfl_xor_sync(~0u, at, d);
        if (v > best || (v == best && a < at)) {  // of equals the first, whatever the lanes
          best = v;
          at = a;
        }
      }
      if (at % 32 == lane) {
        taken |= 1u << (at / 32);
      }
      sum += s[at];
      if (lane == j) {
        mine = s[at];
        my_expert = at;
      }
    }
    if (lane < chosen) {
      const long i = (long)(first + t) * chosen + lane;
      expert[i] = my_expert;
      score[i] = mine;
      weight[i] = scale * mine / (sum + kTiny);
    }
  }
}

// dlogit[t, e] from dweight[t, j]; zero for experts that were not chosen. A warp a token.
extern "C" __global__ void __launch_bounds__(256)
    router_backward(const int* expert, const float* score, const float* dweight,
                    __nv_bfloat16* dlogit, int tokens, int experts, int chosen, float scale) {
  const int t = blockIdx.x * 8 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (t >= tokens) {
    return;
  }
  const bool mine = lane < chosen;
  const long i = (long)t * chosen + lane;
  const float s = mine ? score[i] : 0, d = mine ? dweight[i] : 0;
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
