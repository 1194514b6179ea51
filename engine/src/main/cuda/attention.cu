// What attention needs beside matrix products: joined keys, the softmax and its gradient. Layouts as
// in the Java interface Backend: a row of kv holds each head's [key nope, value], the rotated part
// of the key is shared by all heads. The products are done by whoever calls.
#include "numbers.cuh"

namespace {

template <typename T>
__device__ __forceinline__ T rounded(float x) {
  return static_cast<T>(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 rounded<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// The larger of *at and x. Integers order like the floats they hold, negative ones the other way.
__device__ __forceinline__ void atomic_max(float* at, float x) {
  if (x >= 0) {
    atomicMax(reinterpret_cast<int*>(at), __float_as_int(x));
  } else {
    atomicMin(reinterpret_cast<unsigned*>(at), __float_as_uint(x));
  }
}

template <typename T>
__device__ void join_keys(const float* kv, const float* k, T* joined, int length, int heads,
                          int nope, int rope, int value) {
  const int d = nope + rope;
  const long n = (long)heads * length * d;
  for (long i = blockIdx.x * 256l + threadIdx.x; i < n; i += gridDim.x * 256l) {
    const int c = i % d;
    const int j = i / d % length;
    const int h = i / ((long)d * length);
    joined[i] = rounded<T>(c < nope ? kv[((long)j * heads + h) * (nope + value) + c]
                                    : k[(long)j * rope + c - nope]);
  }
}

}  // namespace

// joined[h, j] = [kv[j, h, :nope], k[j]] for one sequence.
extern "C" __global__ void __launch_bounds__(256)
    attention_join_keys(const float* kv, const float* k, float* joined, int length, int heads,
                        int nope, int rope, int value) {
  join_keys(kv, k, joined, length, heads, nope, rope, value);
}

extern "C" __global__ void __launch_bounds__(256)
    attention_join_keys_bf16(const float* kv, const float* k, __nv_bfloat16* joined, int length,
                             int heads, int nope, int rope, int value) {
  join_keys(kv, k, joined, length, heads, nope, rope, value);
}

// Back: dkv[j, h, :nope] = d[h, j, :nope], dk[j] = sum_h d[h, j, nope:] in the order of heads.
extern "C" __global__ void __launch_bounds__(256)
    attention_split_keys(const float* d_joined, float* dkv, float* dk, int length, int heads,
                         int nope, int rope, int value) {
  const int d = nope + rope;
  const int j = blockIdx.x;
  for (int i = threadIdx.x; i < heads * nope; i += blockDim.x) {
    const int h = i / nope, c = i % nope;
    dkv[((long)j * heads + h) * (nope + value) + c] = d_joined[((long)h * length + j) * d + c];
  }
  for (int c = threadIdx.x; c < rope; c += blockDim.x) {
    float sum = 0;
    for (int h = 0; h < heads; h++) {
      sum += d_joined[((long)h * length + j) * d + nope + c];
    }
    dk[(long)j * rope + c] = sum;
  }
}

// Softmax of rows of `columns` logits, in place. With `lengths` the rows of y see the first
// lengths[y] columns, else row i of each y sees the first i + 1; the rest become zero. Grid: x rows,
// y heads or sequences. most[y] is raised to the largest allowed logit, if given.
extern "C" __global__ void __launch_bounds__(256)
    attention_softmax(float* p, float* most, const int* lengths, int columns) {
  float* row = p + ((long)blockIdx.y * gridDim.x + blockIdx.x) * columns;
  const int allowed = lengths == nullptr ? blockIdx.x + 1 : lengths[blockIdx.y];
  float largest = -INFINITY;
  for (int j = threadIdx.x; j < allowed; j += blockDim.x) {
    largest = fmaxf(largest, row[j]);
  }
  largest = block_max(largest);
  float sum = 0;
  for (int j = threadIdx.x; j < allowed; j += blockDim.x) {
    const float e = expf(row[j] - largest);
    row[j] = e;
    sum += e;
  }
  sum = block_sum(sum);
  for (int j = threadIdx.x; j < columns; j += blockDim.x) {
    row[j] = j < allowed ? row[j] / sum : 0;
  }
  if (threadIdx.x == 0 && most != nullptr) {
    atomic_max(most + blockIdx.y, largest);
  }
}

// dp becomes the gradient of the logits before their scale: scale p (dp - mean), zero where causality
// forbids. mean = dout . out of the row and head, which is sum_j p dp. Grid as above; dout and out
// are rows of heads x value.
extern "C" __global__ void __launch_bounds__(256)
    attention_softmax_backward(const float* p, float* dp, const float* dout, const float* out,
                               int length, int value, float scale) {
  const int i = blockIdx.x, h = blockIdx.y, heads = gridDim.y;
  const long row = ((long)h * length + i) * length;
  const long at = ((long)i * heads + h) * value;
  float dot = 0;
  for (int c = threadIdx.x; c < value; c += blockDim.x) {
    dot += dout[at + c] * out[at + c];
  }
  const float mean = block_sum(dot);
  for (int j = threadIdx.x; j < length; j += blockDim.x) {
    dp[row + j] = j <= i ? scale * p[row + j] * (dp[row + j] - mean) : 0;
  }
}

// The rotated part of queries behind the absorbed part: absorbed[b, h, rank:] = q[b, h, nope:].
extern "C" __global__ void __launch_bounds__(256)
    attention_append_rope(const float* q, float* absorbed, int rows, int nope, int rope, int rank) {
  const long n = (long)rows * rope;
  for (long i = blockIdx.x * 256l + threadIdx.x; i < n; i += gridDim.x * 256l) {
    const long row = i / rope;
    const int c = i % rope;
    absorbed[row * (rank + rope) + rank + c] = q[row * (nope + rope) + nope + c];
  }
}
