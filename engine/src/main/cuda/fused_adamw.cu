// One AdamW update with decoupled decay (Loshchilov and Hutter, algorithm 2) in one pass: gradients
// in bf16, moments and master weights in float32, weights also rounded to bf16. What changes from
// step to step is read on the device, so that a captured graph serves every step. The plain kernel
// is in adamw.cu.
#include "eight.cuh"

// step: {learning rate, gradient scale, 1 - beta1^t, 1 - beta2^t}.
extern "C" __global__ void __launch_bounds__(256)
    fused_adamw(const uint2* g, float4* m, float4* v, float4* w, uint2* rounded, const float* step,
                long quarter, float beta1, float beta2, float epsilon, float decay) {
  const float rate = step[0] / step[2], scale = step[1];
  const float keep = 1 - step[0] * decay, correction = rsqrtf(step[3]);
  const long stride = gridDim.x * 256l;
#pragma unroll 2
  for (long i = blockIdx.x * 256l + threadIdx.x; i < quarter; i += stride) {
    const uint2 bits = __ldcs(&g[i]);
    const float4 m4 = __ldcs(&m[i]), v4 = __ldcs(&v[i]), w4 = __ldcs(&w[i]);
    const float gradient[4] = {
        __uint_as_float(bits.x << 16), __uint_as_float(bits.x & 0xFFFF0000u),
        __uint_as_float(bits.y << 16), __uint_as_float(bits.y & 0xFFFF0000u)};
    float mean[4] = {m4.x, m4.y, m4.z, m4.w};
    float square[4] = {v4.x, v4.y, v4.z, v4.w};
    float weight[4] = {w4.x, w4.y, w4.z, w4.w};
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const float x = scale * gradient[e];
      mean[e] = beta1 * mean[e] + (1 - beta1) * x;
      square[e] = beta2 * square[e] + (1 - beta2) * x * x;
      weight[e] =
          keep * weight[e] - rate * __fdividef(mean[e], sqrtf(square[e]) * correction + epsilon);
    }
    m[i] = make_float4(mean[0], mean[1], mean[2], mean[3]);
    v[i] = make_float4(square[0], square[1], square[2], square[3]);
    w[i] = make_float4(weight[0], weight[1], weight[2], weight[3]);
    const __nv_bfloat162 low = __floats2bfloat162_rn(weight[0], weight[1]);
    const __nv_bfloat162 high = __floats2bfloat162_rn(weight[2], weight[3]);
    rounded[i] = make_uint2(reinterpret_cast<const uint32_t&>(low),
                            reinterpret_cast<const uint32_t&>(high));
  }
}
