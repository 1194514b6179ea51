// Cross-entropy of the softmax of each row of logits against its target, and its gradient in place:
// scale (softmax - one-hot). A negative target is left out: no loss, no gradient. A block a row.
#include "numbers.cuh"

extern "C" __global__ void __launch_bounds__(512)
    cross_entropy_rows(float* logits, const int* targets, double* loss, int vocabulary,
                       float scale) {
  float* x = logits + (long)blockIdx.x * vocabulary;
  const int target = targets[blockIdx.x];
  if (target < 0) {
    for (int v = threadIdx.x; v < vocabulary; v += blockDim.x) {
      x[v] = 0;
    }
    if (threadIdx.x == 0) {
      loss[blockIdx.x] = 0;
    }
    return;
  }
  float most = -INFINITY;
  float any = 0;  // NaN when a logit is: a maximum would pass over it
  for (int v = threadIdx.x; v < vocabulary; v += blockDim.x) {
    most = fmaxf(most, x[v]);
    any += 0 * x[v];
  }
  most = block_max(most) + block_sum(any);
  const float at_target = x[target] - most;
  __syncthreads();  // before another thread overwrites the target's logit
  float sum = 0;
  for (int v = threadIdx.x; v < vocabulary; v += blockDim.x) {
    const float e = expf(x[v] - most);
    x[v] = e;
    sum += e;
  }
  sum = block_sum(sum);
  for (int v = threadIdx.x; v < vocabulary; v += blockDim.x) {
    x[v] = x[v] * (scale / sum) - (v == target ? scale : 0);
  }
  if (threadIdx.x == 0) {
    loss[blockIdx.x] = (double)logf(sum) - at_target;
  }
}
