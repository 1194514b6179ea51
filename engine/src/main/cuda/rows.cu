// Rows that move by index: the embedding, and tokens on their way to experts and back. A block a
// row. Rows of float32, or of any words of 32 bits where nothing is computed.
#include "eight.cuh"
#include "numbers.cuh"

// y[s] = x[rows[s]]
extern "C" __global__ void rows_gather(const float* x, const int* rows, float* y, int width) {
  const long from = (long)rows[blockIdx.x] * width, to = (long)blockIdx.x * width;
  for (int c = threadIdx.x; c < width; c += blockDim.x) {
    y[to + c] = x[from + c];
  }
}

// y[slot[i]] = x[i / chosen]
extern "C" __global__ void rows_spread(const float* x, const int* slot, float* y, int chosen,
                                       int width) {
  const long from = (long)(blockIdx.x / chosen) * width, to = (long)slot[blockIdx.x] * width;
  for (int c = threadIdx.x; c < width; c += blockDim.x) {
    y[to + c] = x[from + c];
  }
}

// count[e] += offset[e + 1] - offset[e]
extern "C" __global__ void rows_count(const int* offset, float* count, int experts) {
  const int e = blockIdx.x * blockDim.x + threadIdx.x;
  if (e < experts) {
    count[e] += static_cast<float>(offset[e + 1] - offset[e]);
  }
}

// x[i] = i
extern "C" __global__ void rows_range(int* x, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    x[i] = i;
  }
}

// y[id] += x[t] for every t with ids[t] == id, in the order of t. A block for each t, which does
// nothing unless its t is the first of its id: no two blocks write one row.
extern "C" __global__ void __launch_bounds__(256)
    rows_add_by_id(const float* x, const int* ids, float* y, int n, int width) {
  __shared__ int source[256];
  __shared__ int of_warp[8];
  const int t = blockIdx.x, id = ids[t];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int first = 0; first < t; first += 256) {
    const int i = first + threadIdx.x;
    if (__syncthreads_or(i < t && ids[i] == id)) {
      return;
    }
  }
  for (int first = t; first < n; first += 256) {
    const int i = first + threadIdx.x;
    const bool found = i < n && ids[i] == id;
    const unsigned votes = __ballot_sync(0xffffffff, found);
    if (lane == 0) {
      of_warp[warp] = __popc(votes);
    }
    __syncthreads();
    int before = __popc(votes & ((1u << lane) - 1)), count = 0;
    for (int w = 0; w < 8; w++) {
      before += w < warp ? of_warp[w] : 0;
      count += of_warp[w];
    }
    if (found) {
      source[before] = i;
    }
    __syncthreads();
    for (int c = threadIdx.x; count > 0 && c < width; c += 256) {
      float sum = y[(long)id * width + c];
      for (int k = 0; k < count; k++) {
        sum += x[(long)source[k] * width + c];
      }
      y[(long)id * width + c] = sum;
    }
    __syncthreads();  // before the next 256 overwrite what is read here
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

// The same in bf16 but for weight and dweight, sixteen bytes at a time; `width8` eights of numbers.
extern "C" __global__ void __launch_bounds__(128)
    rows_combine_backward_bf16(const uint4* dy, const uint4* x, const int* slot,
                               const float* weight, uint4* dx, float* dweight, int chosen,
                               int width8) {
  const int i = blockIdx.x;
  const long from = (long)(i / chosen) * width8, to = (long)slot[i] * width8;
  const float w = weight[i];
  float dot = 0;
  for (int c = threadIdx.x; c < width8; c += blockDim.x) {
    float d[8], v[8];
    to_floats(__ldg(&dy[from + c]), d);
    to_floats(__ldcs(&x[to + c]), v);
#pragma unroll
    for (int e = 0; e < 8; e++) {
      dot = fmaf(d[e], v[e], dot);
      d[e] *= w;
    }
    dx[to + c] = to_bf16(d);
  }
  dot = sum_over_block(dot);
  if (threadIdx.x == 0) {
    dweight[i] = dot;
  }
}
