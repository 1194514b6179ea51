// Rows of float32 that move by index: the embedding, and tokens on their way to experts and back.
// A block a row.
#include "numbers.cuh"

// y[s] = x[rows[s]]
extern "C" __global__ void rows_gather(const float* x, const int* rows, float* y, int width) {
  const long from = (long)rows[blockIdx.x] * width, to = (long)blockIdx.x * width;
  for (int c = threadIdx.x; c < width; c += blockDim.x) {
    y[to + c] = x[from + c];
  }
}

// y[target[i]] += the sum of x[source[j]] for start[i] <= j < start[i + 1], in that order: targets
// differ, so no two blocks write one row.
extern "C" __global__ void rows_sum_by_target(const float* x, const int* target, const int* start,
                                              const int* source, float* y, int width) {
  const int i = blockIdx.x;
  for (int c = threadIdx.x; c < width; c += blockDim.x) {
    float sum = 0;
    for (int j = start[i]; j < start[i + 1]; j++) {
      sum += x[(long)source[j] * width + c];
    }
    y[(long)target[i] * width + c] += sum;
  }
}

// y[t] += sum_k weight[t, k] x[slot[t, k]]; weights of one without `weight`.
extern "C" __global__ void rows_combine(const float* x, const int* slot, const float* weight,
                                        float* y, int chosen, int width) {
  const int t = blockIdx.x;
  for (int c = threadIdx.x; c < width; c += blockDim.x) {
    float sum = y[(long)t * width + c];
    for (int k = 0; k < chosen; k++) {
      const float w = weight == nullptr ? 1 : weight[t * chosen + k];
      sum += w * x[(long)slot[t * chosen + k] * width + c];
    }
    y[(long)t * width + c] = sum;
  }
}

// dx[slot[i]] = weight[i] dy[t], dweight[i] = dy[t] . x[slot[i]], where t = i / chosen. A block an i.
extern "C" __global__ void __launch_bounds__(128)
    rows_combine_backward(const float* dy, const float* x, const int* slot, const float* weight,
                          float* dx, float* dweight, int chosen, int width) {
  const int i = blockIdx.x;
  const long from = (long)(i / chosen) * width, to = (long)slot[i] * width;
  const float w = weight[i];
  float dot = 0;
  for (int c = threadIdx.x; c < width; c += blockDim.x) {
    const float d = dy[from + c];
    dot += d * x[to + c];
    dx[to + c] = w * d;
  }
  dot = block_sum(dot);
  if (threadIdx.x == 0) {
    dweight[i] = dot;
  }
}
