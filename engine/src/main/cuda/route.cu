// DeepSeek-V3's routing with groups, from logits in float32 (section 2.1.2 of the report): scores
// s = sigmoid(logits), the choice by s + bias, first of groups by the sum of their two best, then of
// experts; weights from s alone. Equal scores choose the lower index. The forms without groups that
// fuse the product are in router.cu.
#include "numbers.cuh"

namespace {

constexpr float kTiny = 1e-20f;  // as in the reference, against a sum of zero

// The index of the largest of x[0..n), the lowest of equal ones; -1 when none is above -infinity.
__device__ int take_largest(float* x, int n) {
  const int lane = threadIdx.x;
  float best = -INFINITY;
  int at = n;
  for (int i = lane; i < n; i += 32) {
    if (x[i] > best) {
      best = x[i];
      at = i;
    }
  }
  for (int d = 16; d > 0; d /= 2) {
    const float other = __shfl_xor_sync(~0u, best, d);
    const int other_at = __shfl_xor_sync(~0u, at, d);
    if (other > best || (other == best && other_at < at)) {
      best = other;
      at = other_at;
    }
  }
  __syncwarp();  // all lanes have read x
  if (at < n && lane == 0) {
    x[at] = -INFINITY;
  }
  __syncwarp();
  return at < n ? at : -1;
}

}  // namespace

// A warp, which is a block, for each token; shared memory for `experts` + 2 x `groups` floats.
// Where no score is left to choose, as when all are NaN, any expert is chosen and its weight is NaN:
// it shows in the loss.
extern "C" __global__ void __launch_bounds__(32)
    route_forward(float* logits, const float* bias, int* chosen, float* weight, int experts,
                  int k, int groups, int chosen_groups, int normalize, float scale) {
  extern __shared__ float choice[];
  float* group_score = choice + experts;
  float* kept = group_score + groups;
  const int lane = threadIdx.x;
  float* s = logits + (long)blockIdx.x * experts;
  for (int e = lane; e < experts; e += 32) {
    const float score = 1 / (1 + expf(-s[e]));
    s[e] = score;
    choice[e] = score + bias[e];
  }
  __syncwarp();
  if (chosen_groups < groups) {
    const int width = experts / groups;
    for (int g = lane; g < groups; g += 32) {
      float first = -INFINITY, second = -INFINITY;
      for (int e = g * width; e < (g + 1) * width; e++) {
        if (choice[e] > first) {
          second = first;
          first = choice[e];
        } else if (choice[e] > second) {
          second = choice[e];
        }
      }
      group_score[g] = width == 1 ? first : first + second;
      kept[g] = 0;
    }
    __syncwarp();
    for (int i = 0; i < chosen_groups; i++) {
      const int g = take_largest(group_score, groups);
      if (lane == 0 && g >= 0) {
        kept[g] = 1;
      }
    }
    __syncwarp();
    for (int e = lane; e < experts; e += 32) {
      if (kept[e / width] == 0) {
        choice[e] = -INFINITY;
      }
    }
    __syncwarp();
  }
  float sum = 0;
  for (int i = 0; i < k; i++) {
    const int largest = take_largest(choice, experts);
    const int e = largest < 0 ? i : largest;
    const float score = largest < 0 ? NAN : s[e];
    sum += score;
    if (lane == 0) {
      chosen[blockIdx.x * k + i] = e;
      weight[blockIdx.x * k + i] = score;
    }
  }
  __syncwarp();
  const float factor = normalize ? scale / (sum + kTiny) : scale;
  for (int i = lane; i < k; i += 32) {
    weight[blockIdx.x * k + i] *= factor;
  }
}

// weight_k = scale s_k / sum s, or scale s_k; dlogits is zero where an expert was not chosen.
extern "C" __global__ void __launch_bounds__(32)
    route_backward(const float* dweight, const float* scores, const int* chosen, float* dlogits,
                   int experts, int k, int normalize, float scale) {
  const float* s = scores + (long)blockIdx.x * experts;
  float* d = dlogits + (long)blockIdx.x * experts;
  for (int e = threadIdx.x; e < experts; e += 32) {
    d[e] = 0;
  }
  float sum = kTiny, mixed = 0;
  for (int i = 0; i < k; i++) {
    const float score = s[chosen[blockIdx.x * k + i]];
    sum += score;
    mixed += dweight[blockIdx.x * k + i] * score;
  }
  __syncwarp();
  for (int i = threadIdx.x; i < k; i += 32) {
    const int e = chosen[blockIdx.x * k + i];
    const float dw = dweight[blockIdx.x * k + i];
    const float dscore = normalize ? scale / sum * (dw - mixed / sum) : scale * dw;
    d[e] = dscore * s[e] * (1 - s[e]);
  }
}
