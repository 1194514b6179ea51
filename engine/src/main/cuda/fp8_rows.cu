// Activations that wait for backward in eight bits: rows of numbers as rows of 32-bit words and back,
// bit for bit as dev.perigee.engine.backend.Fp8 packs them. A packed row is first one float32 scale
// for each 128 numbers, then four e4m3 numbers in each word, the first in its lowest bits.
#include <cuda_fp8.h>

#include "numbers.cuh"

namespace {

constexpr int kBlock = 128;
constexpr float kLargest = 448;
constexpr float kSmallestScaled = 1e-4f;

__device__ __forceinline__ void put(float* to, float x) { *to = x; }
__device__ __forceinline__ void put(__nv_bfloat16* to, float x) { *to = __float2bfloat16_rn(x); }

__device__ __forceinline__ int blocks_of(int width) { return (width + kBlock - 1) / kBlock; }
__device__ __forceinline__ int words_of(int width) { return (width + 3) / 4; }

// A warp takes 128 numbers of a row, each lane four.
template <typename T>
__device__ void pack(const T* x, unsigned* packed, int rows, int width) {
  const int blocks = blocks_of(width);
  const int row_words = blocks + words_of(width);
  const int lane = threadIdx.x % 32;
  const long warps = gridDim.x * (blockDim.x / 32L);
  for (long w = blockIdx.x * (blockDim.x / 32L) + threadIdx.x / 32; w < (long)rows * blocks;
       w += warps) {
    const long row = w / blocks;
    const int block = static_cast<int>(w % blocks);
    const int first = block * kBlock + 4 * lane;
    float v[4];
    float largest = kSmallestScaled;
    bool finite = true;
#pragma unroll
    for (int k = 0; k < 4; k++) {
      v[k] = first + k < width ? number(x[row * width + first + k]) : 0;
      finite &= isfinite(v[k]);
      largest = fmaxf(largest, fabsf(v[k]));
    }
    largest = warp_max(largest);
    finite = __all_sync(~0u, finite);
    const float scale = __fdiv_rn(largest, kLargest);
    unsigned word = 0;
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const float scaled = __fdiv_rn(v[k], scale) + 0.0f;  // -0 becomes 0
      word |= static_cast<unsigned>(__nv_cvt_float_to_fp8(scaled, __NV_SATFINITE, __NV_E4M3))
              << (8 * k);
    }
    unsigned* to = packed + row * row_words;
    if (first < width) {
      to[blocks + first / 4] = finite ? word : 0;
    }
    if (lane == 0) {
      to[block] = finite ? __float_as_uint(scale) : 0x7FC00000u;  // NaN
    }
  }
}

// A thread takes a word.
template <typename T>
__device__ void unpack(const unsigned* packed, T* x, int rows, int width) {
  const int blocks = blocks_of(width);
  const int words = words_of(width);
  const long all = (long)rows * words;
  for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < all;
       i += gridDim.x * (long)blockDim.x) {
    const long row = i / words;
    const int first = 4 * static_cast<int>(i % words);
    const unsigned* from = packed + row * (blocks + words);
    const float scale = __uint_as_float(from[first / kBlock]);
    const unsigned word = from[blocks + first / 4];
#pragma unroll
    for (int k = 0; k < 4; k++) {
      if (first + k < width) {
        const __half_raw h = __nv_cvt_fp8_to_halfraw(
            static_cast<__nv_fp8_storage_t>(word >> (8 * k)), __NV_E4M3);
        put(x + row * width + first + k, __fmul_rn(__half2float(__half(h)), scale));
      }
    }
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256)
    fp8_rows_pack_float32(const float* x, unsigned* packed, int rows, int width) {
  pack(x, packed, rows, width);
}

extern "C" __global__ void __launch_bounds__(256)
    fp8_rows_pack_bf16(const __nv_bfloat16* x, unsigned* packed, int rows, int width) {
  pack(x, packed, rows, width);
}

extern "C" __global__ void __launch_bounds__(256)
    fp8_rows_unpack_float32(const unsigned* packed, float* x, int rows, int width) {
  unpack(packed, x, rows, width);
}

extern "C" __global__ void __launch_bounds__(256)
    fp8_rows_unpack_bf16(const unsigned* packed, __nv_bfloat16* x, int rows, int width) {
  unpack(packed, x, rows, width);
}
