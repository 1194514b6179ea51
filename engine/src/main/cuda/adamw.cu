// One AdamW update with decoupled decay (Loshchilov and Hutter, algorithm 2), elementwise in float32.

extern "C" __global__ void __launch_bounds__(256)
    adamw_update(const float* g, float* m, float* v, float* w, long n, float gradient_scale,
                 float beta1, float beta2, float rate, float square_correction, float epsilon,
                 float keep) {
  for (long i = blockIdx.x * 256l + threadIdx.x; i < n; i += gridDim.x * 256l) {
    const float gradient = g[i] * gradient_scale;
    const float mean = beta1 * m[i] + (1 - beta1) * gradient;
    const float square = beta2 * v[i] + (1 - beta2) * gradient * gradient;
    m[i] = mean;
    v[i] = square;
    w[i] = keep * w[i] - rate * mean / (sqrtf(square) * square_correction + epsilon);
  }
}
