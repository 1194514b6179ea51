// c = alpha op(a) op(b) + beta c for batches of row-major matrices at fixed distances: the plain twin
// of cuBLAS, and what stands in for it where it is not installed. Sums in float32.
#include "numbers.cuh"

namespace {

// A block computes 64 x 64 of c in steps of 16; each of its 16 x 16 threads has 4 x 4 of them.
constexpr int kTile = 64, kDepth = 16;

__device__ __forceinline__ void put(float* to, float x) { *to = x; }
__device__ __forceinline__ void put(__nv_bfloat16* to, float x) { *to = __float2bfloat16_rn(x); }

template <typename T, typename Result>
__device__ void product(const T* a, const T* b, Result* c, int transpose_a, int transpose_b, int m,
                        int n, int k, int lda, int ldb, int ldc, long stride_a, long stride_b,
                        long stride_c, float alpha, float beta) {
  __shared__ float sa[kDepth][kTile + 1], sb[kDepth][kTile + 1];
  a += blockIdx.z * stride_a;
  b += blockIdx.z * stride_b;
  c += blockIdx.z * stride_c;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  for (int i0 = blockIdx.y * kTile; i0 < m; i0 += gridDim.y * kTile) {
    const int j0 = blockIdx.x * kTile;
    float sum[4][4] = {};
    for (int k0 = 0; k0 < k; k0 += kDepth) {
      for (int e = threadIdx.x; e < kTile * kDepth; e += 256) {
        // Neighbouring threads read neighbouring numbers, whichever way the matrix lies.
        const int ai = transpose_a ? e % kTile : e / kDepth;
        const int ak = transpose_a ? e / kTile : e % kDepth;
        const int bj = transpose_b ? e / kDepth : e % kTile;
        const int bk = transpose_b ? e % kDepth : e / kTile;
        sa[ak][ai] = i0 + ai < m && k0 + ak < k
                         ? number(transpose_a ? a[(long)(k0 + ak) * lda + i0 + ai]
                                              : a[(long)(i0 + ai) * lda + k0 + ak])
                         : 0;
        sb[bk][bj] = j0 + bj < n && k0 + bk < k
                         ? number(transpose_b ? b[(long)(j0 + bj) * ldb + k0 + bk]
                                              : b[(long)(k0 + bk) * ldb + j0 + bj])
                         : 0;
      }
      __syncthreads();
#pragma unroll
      for (int kk = 0; kk < kDepth; kk++) {
#pragma unroll
        for (int p = 0; p < 4; p++) {
#pragma unroll
          for (int q = 0; q < 4; q++) {
            sum[p][q] = fmaf(sa[kk][ty + 16 * p], sb[kk][tx + 16 * q], sum[p][q]);
          }
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int p = 0; p < 4; p++) {
#pragma unroll
      for (int q = 0; q < 4; q++) {
        const int i = i0 + ty + 16 * p, j = j0 + tx + 16 * q;
        if (i < m && j < n) {
          Result* to = c + (long)i * ldc + j;
          put(to, beta == 0 ? alpha * sum[p][q] : alpha * sum[p][q] + beta * number(*to));
        }
      }
    }
  }
}

}  // namespace

#define PERIGEE_PRODUCT(name, type, result)                                                      \
  extern "C" __global__ void __launch_bounds__(256)                                              \
      name(const type* a, const type* b, result* c, int transpose_a, int transpose_b, int m,     \
           int n, int k, int lda, int ldb, int ldc, long stride_a, long stride_b, long stride_c, \
           float alpha, float beta) {                                                            \
    product<type, result>(a, b, c, transpose_a, transpose_b, m, n, k, lda, ldb, ldc, stride_a,   \
                          stride_b, stride_c, alpha, beta);                                      \
  }

PERIGEE_PRODUCT(product_float, float, float)
PERIGEE_PRODUCT(product_bf16, __nv_bfloat16, float)
PERIGEE_PRODUCT(product_bf16_to_bf16, __nv_bfloat16, __nv_bfloat16)
