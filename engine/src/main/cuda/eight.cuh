// Sixteen bytes at a time: eight bf16 numbers between memory and float32 registers.
#pragma once
#include <cuda_bf16.h>
#include <stdint.h>

__device__ __forceinline__ void to_floats(uint4 u, float (&f)[8]) {
  const uint32_t words[4] = {u.x, u.y, u.z, u.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    f[2 * i] = __uint_as_float(words[i] << 16);
    f[2 * i + 1] = __uint_as_float(words[i] & 0xFFFF0000u);
  }
}

__device__ __forceinline__ uint4 to_bf16(const float (&f)[8]) {
  uint4 u;
  __nv_bfloat162* pairs = reinterpret_cast<__nv_bfloat162*>(&u);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    pairs[i] = __floats2bfloat162_rn(f[2 * i], f[2 * i + 1]);
  }
  return u;
}

// The sum over the block's threads, a multiple of 32 up to 1024, for each of them; in a fixed order.
__device__ __forceinline__ float sum_over_block(float x) {
  __shared__ float warps[32];
  for (int d = 16; d > 0; d /= 2) {
    x += __shfl_xor_sync(~0u, x, d);
  }
  __syncthreads();  // the last sum has been read
  if (threadIdx.x % 32 == 0) {
    warps[threadIdx.x / 32] = x;
  }
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < blockDim.x / 32; i++) {
    sum += warps[i];
  }
  return sum;
}
