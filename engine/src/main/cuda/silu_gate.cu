// h = silu(g) u in float32, where g and u are the halves of a row; its gradient. The bf16 forms that
// live inside the expert layer are in grouped_gemm.cu and swiglu.cu.
#include <math.h>

namespace {

__device__ __forceinline__ float sigmoid(float x) { return 1 / (1 + expf(-x)); }

}  // namespace

extern "C" __global__ void __launch_bounds__(256)
    silu_gate_forward(const float* gu, float* h, int rows, int width) {
  const long n = (long)rows * width;
  for (long i = blockIdx.x * 256l + threadIdx.x; i < n; i += gridDim.x * 256l) {
    const long at = i / width * 2 * width + i % width;
    const float g = gu[at];
    h[i] = sigmoid(g) * g * gu[at + width];
  }
}

extern "C" __global__ void __launch_bounds__(256)
    silu_gate_backward(const float* dh, const float* gu, float* dgu, int rows, int width) {
  const long n = (long)rows * width;
  for (long i = blockIdx.x * 256l + threadIdx.x; i < n; i += gridDim.x * 256l) {
    const long at = i / width * 2 * width + i % width;
    const float g = gu[at], u = gu[at + width], d = dh[i];
    const float s = sigmoid(g), silu = g * s;
    dgu[at] = d * u * (s + silu * (1 - s));
    dgu[at + width] = d * silu;
  }
}
