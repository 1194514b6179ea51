// Sums and maxima over a warp and a block, in an order that depends on the block's size alone.
#pragma once
#include <cuda_bf16.h>
#include <math.h>

__device__ __forceinline__ float number(float x) { return x; }
__device__ __forceinline__ float number(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ __forceinline__ T warp_sum(T x) {
  for (int d = 16; d > 0; d /= 2) {
    x += __shfl_xor_sync(~0u, x, d);
  }
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
  for (int d = 16; d > 0; d /= 2) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, d));
  }
  return x;
}

// For blocks of up to 1024 threads, a multiple of 32; every thread gets the sum.
template <typename T>
__device__ T block_sum(T x) {
  __shared__ T part[32];
  x = warp_sum(x);
  __syncthreads();  // the last sum's readers are done
  if (threadIdx.x % 32 == 0) {
    part[threadIdx.x / 32] = x;
  }
  __syncthreads();
  T sum = 0;
  for (int w = 0; w < blockDim.x / 32; w++) {
    sum += part[w];
  }
  return sum;
}

__device__ inline float block_max(float x) {
  __shared__ float part[32];
  x = warp_max(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) {
    part[threadIdx.x / 32] = x;
  }
  __syncthreads();
  float most = part[0];
  for (int w = 1; w < blockDim.x / 32; w++) {
    most = fmaxf(most, part[w]);
  }
  return most;
}
