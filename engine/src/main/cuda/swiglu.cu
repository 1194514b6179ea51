// a = silu(gate) * up, where a row of h is [gate, up], and its gradient. In an expert layer the
// forward is fused into grouped_gemm.cu; here it stands alone.
//
// Rows of an expert layer carry a weight s: the layer's output is sum s * (a w2^T). Backward works
// on u = dout w2, the gradient of a before the weight: d(s) = u . a and da = s u. The scaled
// activation s a comes out too: with it the gradient of w2 is dout^T (s a), so that the gathered
// rows of dout are used as they are and the forward's y is not kept.
#include "eight.cuh"

// A warp a row.
extern "C" __global__ void __launch_bounds__(256)
    swiglu_forward(const uint4* h, uint4* a, int rows, int width8) {
  const int r = blockIdx.x * 8 + threadIdx.x / 32;
  if (r >= rows) {
    return;
  }
  const uint4* gates = h + 2l * r * width8;
#pragma unroll 4
  for (int c = threadIdx.x % 32; c < width8; c += 32) {
    float gate[8], up[8];
    to_floats(__ldcs(&gates[c]), gate);
    to_floats(__ldcs(&gates[width8 + c]), up);
#pragma unroll
    for (int e = 0; e < 8; e++) {
      up[e] *= __fdividef(gate[e], 1.0f + __expf(-gate[e]));
    }
    a[static_cast<long>(r) * width8 + c] = to_bf16(up);
  }
}

// A warp a row. `order` gives the assignment of a row, where weight is read and dweight written;
// with a null order the weight is one and dweight is not written.
extern "C" __global__ void __launch_bounds__(256)
    swiglu_backward(const uint4* u, const uint4* h, const int* order, const float* weight,
                    uint4* dh, uint4* scaled, float* dweight, int rows, int width8) {
  const int r = blockIdx.x * 8 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (r >= rows) {
    return;
  }
  const int i = order == nullptr ? 0 : order[r];
  const float s = order == nullptr ? 1 : weight[i];
  const uint4* gates = h + 2l * r * width8;
  float dot = 0;
#pragma unroll 2
  for (int c = lane; c < width8; c += 32) {
    const uint4 u8 = __ldcs(&u[(long)r * width8 + c]);
    const uint4 g8 = __ldcs(&gates[c]);
    const uint4 p8 = __ldcs(&gates[width8 + c]);
    uint4 dg8, dp8, a8;
    const __nv_bfloat162* up = reinterpret_cast<const __nv_bfloat162*>(&u8);
    const __nv_bfloat162* gp = reinterpret_cast<const __nv_bfloat162*>(&g8);
    const __nv_bfloat162* pp = reinterpret_cast<const __nv_bfloat162*>(&p8);
#pragma unroll
    for (int q = 0; q < 4; q++) {
      const float2 d2 = __bfloat1622float2(up[q]), g2 = __bfloat1622float2(gp[q]),
                   p2 = __bfloat1622float2(pp[q]);
      const float d[2] = {d2.x, d2.y}, g[2] = {g2.x, g2.y}, p[2] = {p2.x, p2.y};
      float dg[2], dp[2], a[2];
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const float sigma = __fdividef(1.0f, 1.0f + __expf(-g[e]));
        const float silu = g[e] * sigma;
        const float activation = silu * p[e];
        dot = fmaf(d[e], activation, dot);
        const float da = s * d[e];
        dg[e] = da * p[e] * sigma * (1.0f + g[e] * (1.0f - sigma));
        dp[e] = da * silu;
        a[e] = s * activation;
      }
      reinterpret_cast<__nv_bfloat162*>(&dg8)[q] = __floats2bfloat162_rn(dg[0], dg[1]);
      reinterpret_cast<__nv_bfloat162*>(&dp8)[q] = __floats2bfloat162_rn(dp[0], dp[1]);
      reinterpret_cast<__nv_bfloat162*>(&a8)[q] = __floats2bfloat162_rn(a[0], a[1]);
    }
    dh[2l * r * width8 + c] = dg8;
    dh[2l * r * width8 + width8 + c] = dp8;
    scaled[(long)r * width8 + c] = a8;
  }
  if (order != nullptr) {
    for (int step = 16; step > 0; step /= 2) {
      dot += __shfl_xor_sync(~0u, dot, step);
    }
    if (lane == 0) {
      dweight[i] = dot;
    }
  }
}
