// bf16 matrices as blocks of 8-bit floats and back (DeepSeek-V3, section 3.3.2): of every 128 x 128
// block, or of every 128 numbers of a row, one float32 scale, so that the largest becomes 448, the
// largest number of e4m3.
//
//   scale = max |x| / 448,   q = e4m3(x / scale),   x ~ q scale
#include <cuda_fp8.h>

#include "eight.cuh"

namespace {

constexpr float kLargest = 448;
constexpr int kBlock = 128;

}  // namespace

// A block of 256 threads takes `block_rows` (128 or 1) by 128 numbers; grid: x over columns, y over
// rows. scale[row block, column block].
extern "C" __global__ void __launch_bounds__(256)
    fp8_quantize(const uint4* x, uint2* q, float* scale, int rows, int width8, int block_rows) {
  __shared__ float warps[8];
  const int row0 = blockIdx.y * (block_rows == 1 ? 16 : block_rows);
  const int lane = threadIdx.x % 16;  // of 16 eights in a row of a block
  const int c = blockIdx.x * (kBlock / 8) + lane;
  const int blocks = (width8 * 8 + kBlock - 1) / kBlock;
  // 16 rows at a time: with a scale a row 16 rows are all, else 8 times 16.
  const int times = block_rows == 1 ? 1 : kBlock / 16;
  uint4 kept[kBlock / 16];
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kBlock / 16; i++) {
    const int r = row0 + i * 16 + threadIdx.x / 16;
    kept[i] = make_uint4(0, 0, 0, 0);
    if (i < times && r < rows && c < width8) {
      kept[i] = __ldcs(&x[static_cast<long>(r) * width8 + c]);
    }
  }
#pragma unroll
  for (int i = 0; i < kBlock / 16; i++) {
    float f[8];
    to_floats(kept[i], f);
#pragma unroll
    for (int e = 0; e < 8; e++) {
      largest = fmaxf(largest, fabsf(f[e]));
    }
  }
  for (int d = 8; d > 0; d /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, d));
  }
  if (block_rows != 1) {
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 16));
    if (threadIdx.x % 32 == 0) {
      warps[threadIdx.x / 32] = largest;
    }
    __syncthreads();
    for (int i = 0; i < 8; i++) {
      largest = fmaxf(largest, warps[i]);
    }
  }
  const float unit = largest > 0 ? largest / kLargest : 1;  // a block of zeros stays one
  const float inverse = 1 / unit;
#pragma unroll
  for (int i = 0; i < kBlock / 16; i++) {
    const int r = row0 + i * 16 + threadIdx.x / 16;
    if (i < times && r < rows && c < width8) {
      float f[8];
      to_floats(kept[i], f);
      uint16_t pairs[4];
#pragma unroll
      for (int e = 0; e < 4; e++) {
        pairs[e] = __nv_cvt_float2_to_fp8x2(
            make_float2(f[2 * e] * inverse, f[2 * e + 1] * inverse), __NV_SATFINITE, __NV_E4M3);
      }
      q[static_cast<long>(r) * width8 + c] =
          make_uint2(pairs[0] | pairs[1] << 16, pairs[2] | pairs[3] << 16);
    }
  }
  if (block_rows == 1) {
    const int r = row0 + threadIdx.x / 16;
    if (lane == 0 && r < rows) {
      scale[static_cast<long>(r) * blocks + blockIdx.x] = unit;
    }
  } else if (threadIdx.x == 0) {
    scale[static_cast<long>(blockIdx.y) * blocks + blockIdx.x] = unit;
  }
}

// Grid: x over columns, 256 eights a block, y over rows.
extern "C" __global__ void __launch_bounds__(256)
    fp8_dequantize(const uint2* q, const float* scale, uint4* x, int rows, int width8,
                   int block_rows) {
  const int blocks = (width8 * 8 + kBlock - 1) / kBlock;
  const int c = blockIdx.x * 256 + threadIdx.x;
  if (c >= width8) {
    return;
  }
#pragma unroll 4
  for (int r = blockIdx.y; r < rows; r += gridDim.y) {
    const float unit = __ldg(&scale[static_cast<long>(r / block_rows) * blocks + c * 8 / kBlock]);
    const uint2 bits = __ldcs(&q[static_cast<long>(r) * width8 + c]);
    const uint32_t words[2] = {bits.x, bits.y};
    float f[8];
#pragma unroll
    for (int p = 0; p < 4; p++) {
      const __half2_raw h = __nv_cvt_fp8x2_to_halfraw2(
          static_cast<__nv_fp8x2_storage_t>(words[p / 2] >> 16 * (p % 2)), __NV_E4M3);
      const float2 pair = __half22float2(__half2(h));
      f[2 * p] = pair.x * unit;
      f[2 * p + 1] = pair.y * unit;
    }
    x[static_cast<long>(r) * width8 + c] = to_bf16(f);
  }
}
