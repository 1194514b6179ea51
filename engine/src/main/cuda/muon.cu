// What Muon does before and after the orthogonalisation of newton_schulz.cu, each in one pass (Kimi
// K2 report, algorithm 1; "Muon is scalable for LLM training", section 2.2):
//
//   m <- mu m + s g;   u = s g + mu m with Nesterov, m without;   |u|^2 of each matrix
//   w <- clip[row] (w - rate (size o + decay w)),   and w rounded to bf16
//
// Master weights w and momentum m are float32; u and o are bf16. The learning rate and the
// gradients' scale s are read on the device, so that a captured graph serves every step.
#include <cuda_bf16.h>
#include <stdint.h>

namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ void four(const float* x, long i, float (&v)[4]) {
  const float4 q = __ldcs(reinterpret_cast<const float4*>(x) + i);
  v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
}

__device__ __forceinline__ void four(const __nv_bfloat16* x, long i, float (&v)[4]) {
  const uint2 q = __ldcs(reinterpret_cast<const uint2*>(x) + i);
  const float2 a = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(q.x));
  const float2 b = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(q.y));
  v[0] = a.x, v[1] = a.y, v[2] = b.x, v[3] = b.y;
}

__device__ __forceinline__ void put_four(__nv_bfloat16* x, long i, const float (&v)[4]) {
  uint2 q;
  reinterpret_cast<__nv_bfloat162&>(q.x) = __floats2bfloat162_rn(v[0], v[1]);
  reinterpret_cast<__nv_bfloat162&>(q.y) = __floats2bfloat162_rn(v[2], v[3]);
  reinterpret_cast<uint2*>(x)[i] = q;
}

// The sum over the block's threads, in a fixed order; valid in thread 0.
__device__ float block_sum(float x) {
  __shared__ float warps[kThreads / 32];
  for (int d = 16; d > 0; d /= 2) {
    x += __shfl_xor_sync(~0u, x, d);
  }
  if (threadIdx.x % 32 == 0) {
    warps[threadIdx.x / 32] = x;
  }
  __syncthreads();
  float sum = 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kThreads / 32; i++) {
      sum += warps[i];
    }
  }
  return sum;
}

// Grid: x over the numbers of a matrix, y over matrices. `rates`: {learning rate, gradient scale}.
// partial[matrix, block] receives the block's part of |u|^2. quarter: numbers of a matrix over four.
template <typename Gradient>
__device__ void momentum(const Gradient* g, float* m, __nv_bfloat16* u, float* partial,
                         const float* rates, long quarter, float mu, int nesterov) {
  const float scale = rates[1];
  const long first = blockIdx.y * quarter;
  float sum = 0;
#pragma unroll 4
  for (long i = blockIdx.x * (long)kThreads + threadIdx.x; i < quarter; i += gridDim.x * kThreads) {
    float gradient[4], moment[4], update[4];
    four(g, first + i, gradient);
    four(m, first + i, moment);
#pragma unroll
    for (int e = 0; e < 4; e++) {
      moment[e] = fmaf(mu, moment[e], scale * gradient[e]);
      const float x = nesterov ? fmaf(mu, moment[e], scale * gradient[e]) : moment[e];
      update[e] = __bfloat162float(__float2bfloat16(x));  // the norm of what is multiplied
      sum = fmaf(update[e], update[e], sum);
    }
    reinterpret_cast<float4*>(m)[first + i] =
        make_float4(moment[0], moment[1], moment[2], moment[3]);
    put_four(u, first + i, update);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    partial[blockIdx.y * gridDim.x + blockIdx.x] = sum;
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads)
    muon_momentum_bf16(const __nv_bfloat16* g, float* m, __nv_bfloat16* u, float* partial,
                       const float* rates, long quarter, float mu, int nesterov) {
  momentum(g, m, u, partial, rates, quarter, mu, nesterov);
}

extern "C" __global__ void __launch_bounds__(kThreads)
    muon_momentum_float32(const float* g, float* m, __nv_bfloat16* u, float* partial,
                          const float* rates, long quarter, float mu, int nesterov) {
  momentum(g, m, u, partial, rates, quarter, mu, nesterov);
}

// norm2[matrix] = (|u| + tiny)^2, so that a matrix of zeros stays zero. A block a matrix.
extern "C" __global__ void __launch_bounds__(kThreads)
    muon_norm(const float* partial, float* norm2, int blocks) {
  float sum = 0;
  for (int i = threadIdx.x; i < blocks; i += kThreads) {
    sum += partial[blockIdx.x * blocks + i];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    const float norm = sqrtf(sum) + 1e-7f;
    norm2[blockIdx.x] = norm * norm;
  }
}

// clip, of every row of every matrix, may be null: QK-Clip's factors. Grid as above; a matrix's
// columns are divisible by 4.
extern "C" __global__ void __launch_bounds__(kThreads)
    muon_update(const __nv_bfloat16* o, float* w, __nv_bfloat16* rounded, const float* clip,
                const float* rates, long quarter, int quarter_columns, float size, float decay) {
  const float rate = rates[0];
  const float keep = 1 - rate * decay, step = -rate * size;
  const long first = blockIdx.y * quarter;
#pragma unroll 4
  for (long i = blockIdx.x * (long)kThreads + threadIdx.x; i < quarter; i += gridDim.x * kThreads) {
    float direction[4], weight[4];
    four(o, first + i, direction);
    four(w, first + i, weight);
    const float factor = clip == nullptr ? 1 : clip[(first + i) / quarter_columns];
#pragma unroll
    for (int e = 0; e < 4; e++) {
      weight[e] = factor * fmaf(keep, weight[e], step * direction[e]);
    }
    reinterpret_cast<float4*>(w)[first + i] =
        make_float4(weight[0], weight[1], weight[2], weight[3]);
    put_four(rounded, first + i, weight);
  }
}
