// One AdamW update with decoupled decay (Loshchilov and Hutter, algorithm 2), elementwise in float32;
// the weights also rounded to bf16, if there is a place for that. What changes from step to step is
// read on the device, so that a captured graph serves every step.
#include "numbers.cuh"

// rates: {learning rate, gradient scale, factor on the mean, factor on the root of the square}.
extern "C" __global__ void __launch_bounds__(256)
    adamw_update(const float* g, float* m, float* v, float* w, __nv_bfloat16* rounded,
                 const float* rates, long n, float beta1, float beta2, float epsilon, float decay) {
  const float gradient_scale = rates[1], rate = rates[2], square_correction = rates[3];
  const float keep = 1 - rates[0] * decay;
  for (long i = blockIdx.x * 256l + threadIdx.x; i < n; i += gridDim.x * 256l) {
    const float gradient = g[i] * gradient_scale;
    const float mean = beta1 * m[i] + (1 - beta1) * gradient;
    const float square = beta2 * v[i] + (1 - beta2) * gradient * gradient;
    m[i] = mean;
    v[i] = square;
    const float weight = keep * w[i] - rate * mean / (sqrtf(square) * square_correction + epsilon);
    w[i] = weight;
    if (rounded != nullptr) {
      rounded[i] = __float2bfloat16_rn(weight);
    }
  }
}
