// The last product of a language model and its loss, without the logits of all tokens in memory:
//
//   logit[t, v] = sum_h x[t, h] w[v, h],   loss[t] = log sum_v exp logit[t, v] - logit[t, target[t]]
//
// A chunk of tokens at a time: cross_entropy_logits writes its logits in fp16 (four times as exact
// as bf16 in this range), and of each row of a tile the largest and the sum of exponentials, from
// float32; cross_entropy_loss makes the loss of these; cross_entropy_gradient turns the logits in
// place into their gradient in bf16. The products with it are those of grouped_gemm.cu.
#include <cuda_fp16.h>

#include "tile_gemm.cuh"

namespace {

constexpr float kLog2e = 1.44269504f;

#ifdef PERIGEE_HOPPER
using namespace tile_gemm;

__device__ __forceinline__ uint32_t pack_half(float low, float high) {
  const __half2 h = __floats2half2_rn(fminf(fmaxf(low, -65504.0f), 65504.0f),
                                      fminf(fmaxf(high, -65504.0f), 65504.0f));
  return reinterpret_cast<const uint32_t&>(h);
}

#endif  // PERIGEE_HOPPER

}  // namespace

#ifdef PERIGEE_HOPPER

// part[t, tile] = {largest, sum of exp(logit - largest)} of 256 columns. Tiles go down the tokens
// first, so that the blocks at work at one time read each part of w once.
extern "C" __global__ void __launch_bounds__(kThreads, 1)
    cross_entropy_logits(const __grid_constant__ TensorMap map_x,
                         const __grid_constant__ TensorMap map_w,
                         const __grid_constant__ TensorMap map_logits, float2* part, int tokens,
                         int vocabulary, int hidden) {
  extern __shared__ uint8_t raw[];
  Shared& s = *reinterpret_cast<Shared*>(raw + hopper::padding(raw, 1024));
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; i++) {
      hopper::barrier_init(&s.full[i], 1);
      hopper::barrier_init(&s.empty[i], 8);
    }
    hopper::barrier_init_fence();
    hopper::prefetch_map(&map_x);
    hopper::prefetch_map(&map_w);
    hopper::prefetch_map(&map_logits);
  }
  __syncthreads();

  const int tiles_m = (tokens + kTileM - 1) / kTileM;
  const int tiles_n = (vocabulary + kTileN - 1) / kTileN;
  const int stages = (hidden + kTileK - 1) / kTileK;
  int stage = 0;
  uint32_t phase = 0;
  if (threadIdx.x < 128) {
    hopper::registers_fewer<40>();
    if (threadIdx.x == 0) {
      for (int tile = blockIdx.x; tile < tiles_m * tiles_n; tile += gridDim.x) {
        for (int i = 0; i < stages; i++) {
          hopper::barrier_wait(&s.empty[stage], phase ^ 1);
          hopper::barrier_expect(&s.full[stage], kBytesA + kBytesB);
          hopper::tma_load(s.a[stage], &map_x, &s.full[stage], i * kTileK,
                           tile % tiles_m * kTileM, 0);
          hopper::tma_load(s.b[stage], &map_w, &s.full[stage], i * kTileK,
                           tile / tiles_m * kTileN, 0);
          if (++stage == kStages) {
            stage = 0;
            phase ^= 1;
          }
        }
      }
    }
  } else {
    hopper::registers_more<232>();
    const int consumer = threadIdx.x / 128 - 1;
    const int thread = threadIdx.x % 128;
    Writer writer{s, consumer, thread};
    float acc[128];
    for (int tile = blockIdx.x; tile < tiles_m * tiles_n; tile += gridDim.x) {
      sum_tile<false, false, false, false, false>(s, acc, stage, phase, stages, 0, consumer,
                                                  thread);
      const int row = tile % tiles_m * kTileM + consumer * 64;
      const int column = tile / tiles_m * kTileN;
      const int left = vocabulary - column - thread % 4 * 2;  // columns from this thread's first on
      float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {};
#pragma unroll
      for (int i = 0; i < 128; i++) {
        if (i / 4 * 8 + i % 2 < left) {
          largest[i / 2 % 2] = fmaxf(largest[i / 2 % 2], acc[i]);
        }
      }
#pragma unroll
      for (int h = 0; h < 2; h++) {
        largest[h] = fmaxf(largest[h], __shfl_xor_sync(~0u, largest[h], 1));
        largest[h] = fmaxf(largest[h], __shfl_xor_sync(~0u, largest[h], 2));
      }
#pragma unroll
      for (int i = 0; i < 128; i++) {
        if (i / 4 * 8 + i % 2 < left) {
          sum[i / 2 % 2] += exp2f(kLog2e * (acc[i] - largest[i / 2 % 2]));
        }
      }
#pragma unroll
      for (int h = 0; h < 2; h++) {
        sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
        sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
        const int t = row + thread / 32 * 16 + 8 * h + thread % 32 / 4;
        if (thread % 4 == 0 && t < tokens) {
          part[static_cast<long>(t) * tiles_n + tile / tiles_m] = make_float2(largest[h], sum[h]);
        }
      }
      uint32_t packed[16];
#pragma unroll
      for (int c = 0; c < 4; c++) {
        if (column + 64 * c < vocabulary && row < tokens) {
#pragma unroll
          for (int i = 0; i < 16; i++) {
            packed[i] = pack_half(acc[32 * c + 2 * i], acc[32 * c + 2 * i + 1]);
          }
          writer.write(packed, &map_logits, column + 64 * c, row, 0);
        }
      }
    }
    if (thread == 0) {
      hopper::tma_store_wait_all();
    }
  }
}

#endif  // PERIGEE_HOPPER

// lse[t] and loss[t]; a token whose target is negative has no loss. A warp a token.
extern "C" __global__ void __launch_bounds__(256)
    cross_entropy_loss(const float2* part, const __half* logits, const int* target, float* lse,
                       float* loss, int tokens, int vocabulary, int tiles) {
  const int t = blockIdx.x * 8 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (t >= tokens) {
    return;
  }
  const float2* parts = part + static_cast<long>(t) * tiles;
  float largest = -INFINITY, sum = 0;
  for (int i = lane; i < tiles; i += 32) {
    const float2 p = parts[i];
    const float larger = fmaxf(largest, p.x);
    sum = sum * expf(largest - larger) + p.y * expf(p.x - larger);
    largest = larger;
  }
  float all = largest;
  for (int d = 16; d > 0; d /= 2) {
    all = fmaxf(all, __shfl_xor_sync(~0u, all, d));
  }
  sum *= largest == -INFINITY ? 0 : expf(largest - all);
  for (int d = 16; d > 0; d /= 2) {
    sum += __shfl_xor_sync(~0u, sum, d);
  }
  if (lane == 0) {
    lse[t] = all + logf(sum);
    const int v = target[t];
    loss[t] = v < 0 ? 0 : lse[t] - __half2float(logits[static_cast<long>(t) * vocabulary + v]);
  }
}

// In place: logits in fp16 become scale (softmax - one at the target) in bf16; zero for a token
// without a target. Grid: x over eights of columns, y over tokens.
extern "C" __global__ void __launch_bounds__(256)
    cross_entropy_gradient(uint4* logits, const int* target, const float* lse, int vocabulary,
                           float scale) {
  const int t = blockIdx.y;
  const int v = target[t];
  const float shift = lse[t] * kLog2e;
  const float factor = v < 0 ? 0 : scale;
  uint4* row = logits + static_cast<long>(t) * (vocabulary / 8);
  const int stride = gridDim.x * 256;
#pragma unroll 4
  for (int c = blockIdx.x * 256 + threadIdx.x; c < vocabulary / 8; c += stride) {
    uint4 u = __ldcs(row + c);
    uint32_t* words = reinterpret_cast<uint32_t*>(&u);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float2 l = __half22float2(reinterpret_cast<const __half2&>(words[i]));
      const int at = 8 * c + 2 * i;
      const float first = exp2f(fmaf(l.x, kLog2e, -shift)) - (at == v ? 1.0f : 0.0f);
      const float second = exp2f(fmaf(l.y, kLog2e, -shift)) - (at + 1 == v ? 1.0f : 0.0f);
      const __nv_bfloat162 b = __floats2bfloat162_rn(factor * first, factor * second);
      words[i] = reinterpret_cast<const uint32_t&>(b);
    }
    row[c] = u;
  }
}
