// The residual stream between two parts of a block in one pass each way, in bf16 with float32 sums:
//
//   r = x + residual;   y = r scale gain,  scale = 1 / sqrt(mean(r^2) + epsilon)
//   dr = dresidual + d - r scale^2 mean(d r),  d = dy gain scale;   dgain = sum over rows of dy r scale
//
// dr is the gradient of x and of residual. The plain float32 kernels are in rms_norm.cu.
#include "eight.cuh"

namespace {

constexpr int kThreads = 256;

// A block a row of at most kMost times 2048 columns.
template <int kMost>
__device__ void forward(const uint4* x, const uint4* residual, const uint4* gain, float epsilon,
                        uint4* r, uint4* y, float* scale, int width8) {
  const long row = static_cast<long>(blockIdx.x) * width8;
  float sum[kMost][8];
  float square = 0;
  uint4 first[kMost], second[kMost];
#pragma unroll
  for (int i = 0; i < kMost; i++) {
    const int c = threadIdx.x + i * kThreads;
    if (c < width8) {
      first[i] = __ldcs(&x[row + c]);
      if (residual != nullptr) {
        second[i] = __ldcs(&residual[row + c]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kMost; i++) {
    const int c = threadIdx.x + i * kThreads;
    if (c < width8) {
      to_floats(first[i], sum[i]);
      if (residual != nullptr) {
        float more[8];
        to_floats(second[i], more);
#pragma unroll
        for (int e = 0; e < 8; e++) {
          sum[i][e] += more[e];
        }
        const uint4 rounded = to_bf16(sum[i]);
        r[row + c] = rounded;
        to_floats(rounded, sum[i]);  // backward sees r as rounded
      }
#pragma unroll
      for (int e = 0; e < 8; e++) {
        square = fmaf(sum[i][e], sum[i][e], square);
      }
    }
  }
  const float s = rsqrtf(sum_over_block(square) / (8 * width8) + epsilon);
#pragma unroll
  for (int i = 0; i < kMost; i++) {
    const int c = threadIdx.x + i * kThreads;
    if (c < width8) {
      float g[8];
      to_floats(__ldg(&gain[c]), g);
#pragma unroll
      for (int e = 0; e < 8; e++) {
        g[e] *= sum[i][e] * s;
      }
      y[row + c] = to_bf16(g);
    }
  }
  if (threadIdx.x == 0) {
    scale[blockIdx.x] = s;
  }
}

// Every block walks rows and keeps its part of dgain: part[block, column].
template <int kMost>
__device__ void backward(const uint4* dy, const uint4* r, const uint4* gain, const float* scale,
                         const uint4* dresidual, uint4* dr, float* part, int rows, int width8) {
  float gains[kMost][8], dgain[kMost][8] = {};
#pragma unroll
  for (int i = 0; i < kMost; i++) {
    const int c = threadIdx.x + i * kThreads;
    if (c < width8) {
      to_floats(__ldg(&gain[c]), gains[i]);
    }
  }
  for (int t = blockIdx.x; t < rows; t += gridDim.x) {
    const long row = static_cast<long>(t) * width8;
    const float s = scale[t];
    uint4 slope[kMost], value[kMost], more[kMost];
#pragma unroll
    for (int i = 0; i < kMost; i++) {
      const int c = threadIdx.x + i * kThreads;
      if (c < width8) {
        slope[i] = __ldcs(&dy[row + c]);
        value[i] = __ldcs(&r[row + c]);
        if (dresidual != nullptr) {
          more[i] = __ldcs(&dresidual[row + c]);
        }
      }
    }
    float dot = 0;
#pragma unroll
    for (int i = 0; i < kMost; i++) {
      if (threadIdx.x + i * kThreads < width8) {
        float d[8], v[8];
        to_floats(slope[i], d);
        to_floats(value[i], v);
#pragma unroll
        for (int e = 0; e < 8; e++) {
          const float along = d[e] * v[e] * s;
          dgain[i][e] += along;
          dot = fmaf(along, gains[i][e], dot);
        }
      }
    }
    const float back = sum_over_block(dot) * s * s / (8 * width8);
#pragma unroll
    for (int i = 0; i < kMost; i++) {
      const int c = threadIdx.x + i * kThreads;
      if (c < width8) {
        float d[8], v[8], result[8] = {};
        to_floats(slope[i], d);
        to_floats(value[i], v);
        if (dresidual != nullptr) {
          to_floats(more[i], result);
        }
#pragma unroll
        for (int e = 0; e < 8; e++) {
          result[e] += d[e] * gains[i][e] * s - back * v[e];
        }
        dr[row + c] = to_bf16(result);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kMost; i++) {
    const int c = threadIdx.x + i * kThreads;
    if (c < width8) {
      float4* to = reinterpret_cast<float4*>(part) + (static_cast<long>(blockIdx.x) * width8 + c) * 2;
      to[0] = make_float4(dgain[i][0], dgain[i][1], dgain[i][2], dgain[i][3]);
      to[1] = make_float4(dgain[i][4], dgain[i][5], dgain[i][6], dgain[i][7]);
    }
  }
}

}  // namespace

// residual may be null: r is x, and is not written. dresidual may be null.
#define PERIGEE_FUSED_NORM(columns)                                                             \
  extern "C" __global__ void __launch_bounds__(kThreads)                                        \
      fused_norm_forward_##columns(const uint4* x, const uint4* residual, const uint4* gain,    \
                                   float epsilon, uint4* r, uint4* y, float* scale,             \
                                   int width8) {                                                \
    forward<columns / 2048>(x, residual, gain, epsilon, r, y, scale, width8);                   \
  }                                                                                             \
  extern "C" __global__ void __launch_bounds__(kThreads)                                        \
      fused_norm_backward_##columns(const uint4* dy, const uint4* r, const uint4* gain,         \
                                    const float* scale, const uint4* dresidual, uint4* dr,      \
                                    float* part, int rows, int width8) {                        \
    backward<columns / 2048>(dy, r, gain, scale, dresidual, dr, part, rows, width8);            \
  }

PERIGEE_FUSED_NORM(2048)
PERIGEE_FUSED_NORM(8192)

// dgain[column] = the sum of the blocks' parts, in order. 32 columns by 8 strands a block.
extern "C" __global__ void __launch_bounds__(256)
    fused_norm_gain(const float* part, float* dgain, int blocks, int width) {
  __shared__ float strand[8][33];
  const int c = blockIdx.x * 32 + threadIdx.x;
  float sum = 0;
  if (c < width) {
    for (int b = threadIdx.y; b < blocks; b += 8) {
      sum += part[static_cast<long>(b) * width + c];
    }
  }
  strand[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && c < width) {
    for (int i = 1; i < 8; i++) {
      sum += strand[i][threadIdx.x];
    }
    dgain[c] = sum;
  }
}
