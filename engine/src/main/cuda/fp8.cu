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

// 128 x 128 numbers a block, 16 rows at a time, all of them loaded first. rows_alone: a scale for
// each row of the block. Grid: x over columns, y over rows. scale[row or row block, column block].
template <bool rows_alone>
__device__ void quantize(const uint4* x, uint2* q, float* scale, int rows, int width8) {
  constexpr int kTimes = kBlock / 16;
  __shared__ float warps[8];
  const int row0 = blockIdx.y * kBlock + threadIdx.x / 16;
  const int c = blockIdx.x * (kBlock / 8) + threadIdx.x % 16;  // 16 lanes share a row
  uint4 kept[kTimes];
  float largest[kTimes];
#pragma unroll
  for (int i = 0; i < kTimes; i++) {
    const int r = row0 + 16 * i;
    kept[i] = r < rows && c < width8 ? __ldcs(&x[static_cast<long>(r) * width8 + c])
                                     : make_uint4(0, 0, 0, 0);
  }
#pragma unroll
  for (int i = 0; i < kTimes; i++) {
    float f[8];
    to_floats(kept[i], f);
    largest[i] = 0;
#pragma unroll
    for (int e = 0; e < 8; e++) {
      largest[i] = fmaxf(largest[i], fabsf(f[e]));
    }
    if (!rows_alone && i > 0) {
      largest[0] = fmaxf(largest[0], largest[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < (rows_alone ? kTimes : 1); i++) {
    for (int d = rows_alone ? 8 : 16; d > 0; d /= 2) {
      largest[i] = fmaxf(largest[i], __shfl_xor_sync(~0u, largest[i], d));
    }
  }
  if (!rows_alone) {
    if (threadIdx.x % 32 == 0) {
      warps[threadIdx.x / 32] = largest[0];
    }
    __syncthreads();
    for (int i = 0; i < 8; i++) {
      largest[0] = fmaxf(largest[0], warps[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < kTimes; i++) {
    const int r = row0 + 16 * i;
    const float most = largest[rows_alone ? i : 0];
    const float unit = most > 0 ? most / kLargest : 1;  // a block of zeros stays one
    const float inverse = 1 / unit;
    if (r < rows && c < width8) {
      float f[8];
      to_floats(kept[i], f);
      uint32_t pairs[4];
#pragma unroll
      for (int e = 0; e < 4; e++) {
        pairs[e] = __nv_cvt_float2_to_fp8x2(
            make_float2(f[2 * e] * inverse, f[2 * e + 1] * inverse), __NV_SATFINITE, __NV_E4M3);
      }
      q[static_cast<long>(r) * width8 + c] =
          make_uint2(pairs[0] | pairs[1] << 16, pairs[2] | pairs[3] << 16);
      if (rows_alone ? threadIdx.x % 16 == 0 : i == 0 && threadIdx.x == 0) {
        scale[static_cast<long>(rows_alone ? r : blockIdx.y) * gridDim.x + blockIdx.x] = unit;
      }
    }
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256)
    fp8_quantize_square(const uint4* x, uint2* q, float* scale, int rows, int width8) {
  quantize<false>(x, q, scale, rows, width8);
}

extern "C" __global__ void __launch_bounds__(256)
    fp8_quantize_row(const uint4* x, uint2* q, float* scale, int rows, int width8) {
  quantize<true>(x, q, scale, rows, width8);
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
