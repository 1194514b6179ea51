// Long vectors of float32 and bf16: what has no shape. Grids stride over the elements.
#include "numbers.cuh"

namespace {

__device__ __forceinline__ long first() { return blockIdx.x * (long)blockDim.x + threadIdx.x; }
__device__ __forceinline__ long stride() { return gridDim.x * (long)blockDim.x; }

}  // namespace

extern "C" __global__ void vector_fill(float* x, float value, long n) {
  for (long i = first(); i < n; i += stride()) {
    x[i] = value;
  }
}

// y = a x + b y; x and y may be the same. With b of zero y is not read: it may hold anything.
extern "C" __global__ void vector_axpby(float a, const float* x, float b, float* y, long n) {
  for (long i = first(); i < n; i += stride()) {
    y[i] = b == 0 ? a * x[i] : a == 0 ? b * y[i] : a * x[i] + b * y[i];
  }
}

// The same in bf16, computed in float32.
extern "C" __global__ void vector_axpby_bf16(float a, const __nv_bfloat16* x, float b,
                                             __nv_bfloat16* y, long n) {
  for (long i = first(); i < n; i += stride()) {
    const float sum = (a == 0 ? 0 : a * number(x[i])) + (b == 0 ? 0 : b * number(y[i]));
    y[i] = __float2bfloat16_rn(sum);
  }
}

extern "C" __global__ void vector_to_bf16(const float* x, __nv_bfloat16* y, long n) {
  for (long i = first(); i < n; i += stride()) {
    y[i] = __float2bfloat16_rn(x[i]);
  }
}

extern "C" __global__ void vector_from_bf16(const __nv_bfloat16* x, float* y, long n) {
  for (long i = first(); i < n; i += stride()) {
    y[i] = __bfloat162float(x[i]);
  }
}

// part[block] = the sum of the block's squares, in float64.
extern "C" __global__ void __launch_bounds__(256)
    vector_square_parts(const float* x, double* part, long n) {
  double sum = 0;
  for (long i = first(); i < n; i += stride()) {
    sum += (double)x[i] * x[i];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    part[blockIdx.x] = sum;
  }
}

// One block; total += the sum of x, in float64.
extern "C" __global__ void __launch_bounds__(256)
    vector_add_floats(const float* x, double* total, long n) {
  double sum = 0;
  for (long i = threadIdx.x; i < n; i += blockDim.x) {
    sum += x[i];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    *total += sum;
  }
}

// One block; total += the sum of x.
extern "C" __global__ void __launch_bounds__(256)
    vector_add_doubles(const double* x, double* total, long n) {
  double sum = 0;
  for (long i = threadIdx.x; i < n; i += blockDim.x) {
    sum += x[i];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    *total += sum;
  }
}

// One block; total = the sum of x.
extern "C" __global__ void __launch_bounds__(256)
    vector_sum_doubles(const double* x, double* total, long n) {
  double sum = 0;
  for (long i = threadIdx.x; i < n; i += blockDim.x) {
    sum += x[i];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    *total = sum;
  }
}
