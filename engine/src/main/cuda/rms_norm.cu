// y = x / sqrt(mean(x^2) + epsilon) * gain, row by row, in float32. A block a row.
#include "numbers.cuh"

extern "C" __global__ void __launch_bounds__(256)
    rms_norm_forward(const float* x, const float* gain, float epsilon, float* y, float* scale,
                     int width) {
  const long row = (long)blockIdx.x * width;
  float square = 0;
  for (int c = threadIdx.x; c < width; c += blockDim.x) {
    square += x[row + c] * x[row + c];
  }
  const float s = 1 / sqrtf(block_sum(square) / width + epsilon);
  for (int c = threadIdx.x; c < width; c += blockDim.x) {
    y[row + c] = x[row + c] * gain[c] * s;
  }
  if (threadIdx.x == 0) {
    scale[blockIdx.x] = s;
  }
}

// With d = dy gain scale: dx = d - x scale^2 mean(d x), the second term for what the mean of squares
// contributes. Added to dx when `accumulate` is not 0.
extern "C" __global__ void __launch_bounds__(256)
    rms_norm_backward_input(const float* dy, const float* x, const float* gain, const float* scale,
                            float* dx, int width, int accumulate) {
  const long row = (long)blockIdx.x * width;
  const float s = scale[blockIdx.x];
  float dot = 0;
  for (int c = threadIdx.x; c < width; c += blockDim.x) {
    dot += dy[row + c] * gain[c] * s * x[row + c];
  }
  const float along = block_sum(dot) * s * s / width;
  for (int c = threadIdx.x; c < width; c += blockDim.x) {
    const float d = dy[row + c] * gain[c] * s - along * x[row + c];
    dx[row + c] = accumulate ? dx[row + c] + d : d;
  }
}

namespace {

// part[slice] = the sum of dy x scale over the slice's rows. Blocks of 32 columns by 8 strands;
// gridDim.y slices of rows.
template <typename T>
__device__ void backward_weight(const T* dy, const T* x, const float* scale, float* part, int rows,
                                int width) {
  __shared__ float strand[8][32];
  const int c = blockIdx.x * 32 + threadIdx.x;
  const int each = (rows + gridDim.y - 1) / gridDim.y;
  const int first = blockIdx.y * each;
  const int end = min(first + each, rows);
  float sum = 0;
  if (c < width) {
    for (int t = first + threadIdx.y; t < end; t += 8) {
      const long i = (long)t * width + c;
      sum += number(dy[i]) * number(x[i]) * scale[t];
    }
  }
  strand[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && c < width) {
    for (int i = 1; i < 8; i++) {
      sum += strand[i][threadIdx.x];
    }
    part[(long)blockIdx.y * width + c] = sum;
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256)
    rms_norm_backward_weight(const float* dy, const float* x, const float* scale, float* part,
                             int rows, int width) {
  backward_weight(dy, x, scale, part, rows, width);
}

extern "C" __global__ void __launch_bounds__(256)
    rms_norm_backward_weight_bf16(const __nv_bfloat16* dy, const __nv_bfloat16* x,
                                  const float* scale, float* part, int rows, int width) {
  backward_weight(dy, x, scale, part, rows, width);
}

// dgain += the sum of the slices.
extern "C" __global__ void __launch_bounds__(256)
    rms_norm_add_slices(const float* part, float* dgain, int slices, int width) {
  const int c = blockIdx.x * 256 + threadIdx.x;
  if (c < width) {
    float sum = 0;
    for (int i = 0; i < slices; i++) {
      sum += part[(long)i * width + c];
    }
    dgain[c] += sum;
  }
}
