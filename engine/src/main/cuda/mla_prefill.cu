// Causal latent attention for training and prefill, not absorbed (DeepSeek-V2, section 2.1): keys
// and queries of 192 numbers, 128 without position beside 64 rotated ones, values of 128.
//
//   s[q, k] = scale query[q] . key[k], k <= q;   p = softmax(s);   out[q] = sum_k p[q, k] value[k]
//
// Legend: B sequences of S tokens, H heads. Everything stays where the projections put it: a row of
// q is H x (128 + 64), of kv H x (128 key + 128 value), and kr has the 64 rotated numbers of the key
// that all heads share. lse[B, H, P] is to the base 2, P = S up to a multiple of 128; where there is
// no token it is infinite, so that no weight comes from there.
//
// Forward (FlashAttention-3, section 3): a block keeps 128 queries and streams keys and values in
// tiles of 128; two consumer groups of 64 queries each; the product of the next tile's logits is
// under way while this tile's weights are made. The last keys come first: only their tile is masked.
// The largest logit of each head, which QK-Clip wants, is a by-product of the softmax.
//
// Backward is two kernels of one shape: 128 rows stay, tiles of 64 stream. mla_prefill_dkv keeps keys
// and values and streams queries; mla_prefill_dq the other way round. Both make the weights again,
// which costs 1.4 times the operations of one kernel for all three gradients, and saves adding up the
// queries' gradient between blocks: the result never depends on timing.
#include "wgmma.cuh"

namespace {

[[maybe_unused]] constexpr int kNope = 128;
[[maybe_unused]] constexpr int kRope = 64;
[[maybe_unused]] constexpr int kQuery = kNope + kRope;
constexpr int kValue = 128;
[[maybe_unused]] constexpr int kPair = kNope + kValue;  // of kv: a head's key without position, then its value
[[maybe_unused]] constexpr int kRows = 128;             // of a block
[[maybe_unused]] constexpr float kLog2e = 1.44269504f;

#ifdef PERIGEE_HOPPER

constexpr int kThreads = 384;
constexpr int kBox = 64 * 128;  // bytes: 64 rows of 64 bf16
constexpr int kTall = 2 * kBox;  // the same of 128 rows

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// kTiles boxes of 64 rows from `row` on: the 192 numbers of queries or keys.
struct Maps {
  const TensorMap *q, *kv, *kr, *dout;
};

template <int rows>
__device__ __forceinline__ void load_queries(uint8_t* to, const Maps& m, uint64_t* full, int head,
                                             int row, int batch) {
#pragma unroll 1
  for (int i = 0; i < 3; i++) {
    for (int r = 0; r < rows; r += 64) {
      hopper::tma_load(to + i * (rows * 128) + r * 128, m.q, full, head * kQuery + 64 * i, row + r,
                       batch);
    }
  }
}

template <int rows>
__device__ __forceinline__ void load_keys(uint8_t* to, const Maps& m, uint64_t* full, int head,
                                          int row, int batch) {
#pragma unroll 1
  for (int r = 0; r < rows; r += 64) {
    for (int i = 0; i < 2; i++) {
      hopper::tma_load(to + i * (rows * 128) + r * 128, m.kv, full, head * kPair + 64 * i, row + r,
                       batch);
    }
    hopper::tma_load(to + 2 * (rows * 128) + r * 128, m.kr, full, 0, row + r, batch);
  }
}

// Two boxes wide: values, or gradients of the output.
template <int rows>
__device__ __forceinline__ void load_wide(uint8_t* to, const TensorMap* map, uint64_t* full, int x,
                                          int row, int batch) {
#pragma unroll 1
  for (int i = 0; i < 2; i++) {
    for (int r = 0; r < rows; r += 64) {
      hopper::tma_load(to + i * (rows * 128) + r * 128, map, full, x + 64 * i, row + r, batch);
    }
  }
}

// ---- forward ----

struct Forward {
  uint8_t q[3][kTall];
  uint8_t k[2][3][kTall];
  uint8_t v[2][2][kTall];
  uint64_t q_full, q_empty, k_full[2], k_empty[2], v_full[2], v_empty[2];
};

// `arrivals` empty a stage: one a consumer warp where nothing else is said.
__device__ __forceinline__ void start_barriers(uint64_t* full, uint64_t* empty, int n,
                                               int arrivals = 8) {
  for (int i = 0; i < n; i++) {
    hopper::barrier_init(full + i, 1);
    hopper::barrier_init(empty + i, arrivals);
  }
}

// The i-th piece of work, the longest first: which 128 rows of which head of which sequence.
struct Work {
  int tile, head, batch;

  __device__ Work(int i, int tiles, int heads, int sequences, bool last_first) {
    const int each = heads * sequences;
    tile = last_first ? tiles - 1 - i / each : i / each;
    head = i % each % heads;
    batch = i % each / heads;
  }
};

// Logits of 64 rows, d = a b^T over 192 numbers: `a` in boxes of `rows_a` rows, `b` likewise.
template <int rows_a, int rows_b, int n>
__device__ __forceinline__ void logits(float (&d)[n], uint64_t a, uint64_t b) {
#pragma unroll
  for (int i = 0; i < 3; i++) {
#pragma unroll
    for (int kk = 0; kk < 4; kk++) {
      hopper::wgmma<0, 0>(d, hopper::moved(a, i * rows_a * 128 + kk * 32),
                          hopper::moved(b, i * rows_b * 128 + kk * 32), i + kk > 0);
    }
  }
}

// One step of the running softmax of two rows: s becomes weights, keep what the sums so far count.
__device__ __forceinline__ void softmax(float (&s)[64], float (&largest)[2], float (&sum)[2],
                                        float (&keep)[2], float factor) {
  float shift[2];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float m = largest[h];
#pragma unroll
    for (int j = 0; j < 16; j++) {
      m = fmaxf(m, fmaxf(s[4 * j + 2 * h], s[4 * j + 2 * h + 1]));
    }
    m = fmaxf(m, __shfl_xor_sync(~0u, m, 1));
    m = fmaxf(m, __shfl_xor_sync(~0u, m, 2));
    keep[h] = exp2_fast(factor * (largest[h] - m));
    largest[h] = m;
    shift[h] = factor * m;
    sum[h] *= keep[h];
  }
#pragma unroll
  for (int i = 0; i < 64; i++) {
    s[i] = exp2_fast(fmaf(factor, s[i], -shift[i / 2 % 2]));
    sum[i / 2 % 2] += s[i];
  }
}

__device__ __forceinline__ void atomic_max(float* to, float x) {
  // Floats order as signed integers above zero, as unsigned ones the other way round below.
  if (x >= 0) {
    atomicMax(reinterpret_cast<int*>(to), __float_as_int(x));
  } else {
    atomicMin(reinterpret_cast<unsigned*>(to), __float_as_uint(x));
  }
}

#endif  // PERIGEE_HOPPER

}  // namespace

// largest[h] = -inf, which mla_prefill_forward raises.
extern "C" __global__ void mla_prefill_begin(float* largest, int heads) {
  const int h = blockIdx.x * blockDim.x + threadIdx.x;
  if (h < heads) {
    largest[h] = -INFINITY;
  }
}

#ifdef PERIGEE_HOPPER

// largest, of each head over all sequences, may be null.
extern "C" __global__ void __launch_bounds__(kThreads, 1)
    mla_prefill_forward(const __grid_constant__ TensorMap map_q,
                        const __grid_constant__ TensorMap map_kv,
                        const __grid_constant__ TensorMap map_kr, __nv_bfloat16* out, float* lse,
                        float* largest_H, int sequences, int tokens, int heads, float scale) {
  extern __shared__ uint8_t raw[];
  Forward& s = *reinterpret_cast<Forward*>(raw + hopper::padding(raw, 1024));
  if (threadIdx.x == 0) {
    start_barriers(&s.q_full, &s.q_empty, 1);
    start_barriers(s.k_full, s.k_empty, 2);
    start_barriers(s.v_full, s.v_empty, 2);
    hopper::barrier_init_fence();
    hopper::prefetch_map(&map_q);
    hopper::prefetch_map(&map_kv);
    hopper::prefetch_map(&map_kr);
  }
  __syncthreads();

  const int tiles = (tokens + kRows - 1) / kRows;
  const int all = tiles * heads * sequences;
  uint32_t stage = 0, phase = 0, q_phase = 0;
  if (threadIdx.x < 128) {
    hopper::registers_fewer<24>();
    if (threadIdx.x == 0) {
      const Maps m{&map_q, &map_kv, &map_kr, nullptr};
      for (int i = blockIdx.x; i < all; i += gridDim.x) {
        const Work w(i, tiles, heads, sequences, true);
        hopper::barrier_wait(&s.q_empty, q_phase ^ 1);
        q_phase ^= 1;
        hopper::barrier_expect(&s.q_full, 3 * kTall);
        load_queries<kRows>(s.q[0], m, &s.q_full, w.head, w.tile * kRows, w.batch);
        for (int k = w.tile; k >= 0; k--) {
          hopper::barrier_wait(&s.k_empty[stage], phase ^ 1);
          hopper::barrier_expect(&s.k_full[stage], 3 * kTall);
          load_keys<kRows>(s.k[stage][0], m, &s.k_full[stage], w.head, k * kRows, w.batch);
          hopper::barrier_wait(&s.v_empty[stage], phase ^ 1);
          hopper::barrier_expect(&s.v_full[stage], 2 * kTall);
          load_wide<kRows>(s.v[stage][0], m.kv, &s.v_full[stage], w.head * kPair + kNope, k * kRows,
                           w.batch);
          stage ^= 1;
          phase ^= stage == 0;
        }
      }
    }
  } else {
    hopper::registers_more<240>();
    const int consumer = threadIdx.x / 128 - 1;
    const int thread = threadIdx.x % 128;
    const int row0 = consumer * 64 + thread / 32 * 16 + thread % 32 / 4;  // and 8 further
    const int quad = thread % 4;
    const float factor = scale * kLog2e;
    const auto release = [&](uint64_t* empty) {
      if (thread % 32 == 0) {
        hopper::barrier_arrive(empty);
      }
    };
    for (int i = blockIdx.x; i < all; i += gridDim.x) {
      const Work w(i, tiles, heads, sequences, true);
      float score[64], sum_out[64];
      uint32_t weight[8][4];
      float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {}, keep[2];
      hopper::barrier_wait(&s.q_full, q_phase);
      q_phase ^= 1;
      hopper::barrier_wait(&s.k_full[stage], phase);
      uint64_t q = hopper::operand(s.q[0] + consumer * kBox, 16, 1024);
      hopper::wgmma_fence();
      logits<kRows, kRows>(score, q, hopper::operand(s.k[stage][0], 16, 1024));
      hopper::wgmma_commit();
      hopper::wgmma_wait<0>();
      release(&s.k_empty[stage]);
      if (w.tile == 0) {
        release(&s.q_empty);
      }
#pragma unroll
      for (int e = 0; e < 64; e++) {
        if (e / 4 * 8 + 2 * quad + e % 2 > row0 + e / 2 % 2 * 8) {
          score[e] = -INFINITY;
        }
      }
      softmax(score, largest, sum, keep, factor);
#pragma unroll
      for (int kk = 0; kk < 8; kk++) {
        hopper::pack_operand(score + 8 * kk, weight[kk]);
      }
      for (int k = w.tile - 1; k >= 0; k--) {
        const uint32_t v_stage = stage, v_phase = phase;
        stage ^= 1;
        phase ^= stage == 0;
        hopper::barrier_wait(&s.k_full[stage], phase);
        hopper::keep_in_loop(q);
        hopper::wgmma_fence();
        logits<kRows, kRows>(score, q, hopper::operand(s.k[stage][0], 16, 1024));
        hopper::wgmma_commit();
        hopper::barrier_wait(&s.v_full[v_stage], v_phase);
        const uint64_t v = hopper::operand(s.v[v_stage][0], kTall, 1024);
        hopper::wgmma_fence();
#pragma unroll
        for (int kk = 0; kk < 8; kk++) {
          hopper::wgmma<1>(sum_out, weight[kk], hopper::moved(v, kk * 2048),
                           kk > 0 || k + 1 < w.tile);
        }
        hopper::wgmma_commit();
        hopper::wgmma_wait<1>();
        release(&s.k_empty[stage]);
        if (k == 0) {
          release(&s.q_empty);
        }
        softmax(score, largest, sum, keep, factor);
        hopper::wgmma_wait<0>();
        release(&s.v_empty[v_stage]);
#pragma unroll
        for (int e = 0; e < 64; e++) {
          sum_out[e] *= keep[e / 2 % 2];
        }
#pragma unroll
        for (int kk = 0; kk < 8; kk++) {
          hopper::pack_operand(score + 8 * kk, weight[kk]);
        }
      }
      hopper::barrier_wait(&s.v_full[stage], phase);
      const uint64_t v = hopper::operand(s.v[stage][0], kTall, 1024);
      hopper::wgmma_fence();
#pragma unroll
      for (int kk = 0; kk < 8; kk++) {
        hopper::wgmma<1>(sum_out, weight[kk], hopper::moved(v, kk * 2048), kk > 0 || w.tile > 0);
      }
      hopper::wgmma_commit();
      // While the last product runs, and before the results are written: what a warp exchanges would
      // wait behind its writes.
      if (largest_H != nullptr) {
        const int row = w.tile * kRows + row0;
        float top = row < tokens ? largest[0] : -INFINITY;  // the same in all of a quad
        top = fmaxf(top, row + 8 < tokens ? largest[1] : -INFINITY);
        for (int d = 16; d > 2; d /= 2) {
          top = fmaxf(top, __shfl_xor_sync(~0u, top, d));
        }
        if (thread % 32 == 0 && top > -INFINITY) {
          atomic_max(largest_H + w.head, scale * top);
        }
      }
#pragma unroll
      for (int h = 0; h < 2; h++) {
        sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
        sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
      }
      hopper::wgmma_wait<0>();
      release(&s.v_empty[stage]);
      stage ^= 1;
      phase ^= stage == 0;

#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int row = w.tile * kRows + row0 + 8 * h;
        if (quad == 0) {
          lse[(static_cast<long>(w.batch) * heads + w.head) * (tiles * kRows) + row] =
              row < tokens ? factor * largest[h] + log2f(sum[h]) : INFINITY;
        }
        if (row < tokens) {
          const float inverse = 1 / sum[h];
          __nv_bfloat16* to =
              out + ((static_cast<long>(w.batch) * tokens + row) * heads + w.head) * kValue +
              2 * quad;
#pragma unroll
          for (int j = 0; j < 16; j++) {
            *reinterpret_cast<__nv_bfloat162*>(to + 8 * j) = __floats2bfloat162_rn(
                sum_out[4 * j + 2 * h] * inverse, sum_out[4 * j + 2 * h + 1] * inverse);
          }
        }
      }
    }
  }
}

#endif  // PERIGEE_HOPPER

// delta[b, h, s] = dout . out of a row, zero where there is no token. A warp a row.
extern "C" __global__ void __launch_bounds__(256)
    mla_prefill_delta(const uint2* out, const uint2* dout, float* delta, int sequences, int tokens,
                      int heads, int padded) {
  const long i = blockIdx.x * 8l + threadIdx.x / 32;  // in the order of delta
  const int lane = threadIdx.x % 32;
  if (i >= static_cast<long>(sequences) * heads * padded) {
    return;
  }
  const int s = i % padded, h = i / padded % heads;
  const long b = i / padded / heads;
  float dot = 0;
  if (s < tokens) {
    const long at = ((b * tokens + s) * heads + h) * (kValue / 4) + lane;
    const uint2 x = out[at], y = dout[at];
    const float2 x0 = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(x.x));
    const float2 x1 = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(x.y));
    const float2 y0 = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(y.x));
    const float2 y1 = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(y.y));
    dot = x0.x * y0.x + x0.y * y0.y + x1.x * y1.x + x1.y * y1.y;
    for (int d = 16; d > 0; d /= 2) {
      dot += __shfl_xor_sync(~0u, dot, d);
    }
  }
  if (lane == 0) {
    delta[i] = dot;
  }
}

#ifdef PERIGEE_HOPPER

namespace {

constexpr int kStages = 3;

// What stays: queries or keys (192 wide) and dout or values (128 wide); what streams: the others.
struct Backward {
  uint8_t wide[3][kTall];
  uint8_t narrow[2][kTall];
  uint8_t wide_stream[kStages][3][kBox];
  uint8_t narrow_stream[kStages][2][kBox];
  float lse[kStages][64];
  float delta[kStages][64];
  uint64_t kept_full, kept_empty, full[kStages], empty[kStages];
};

constexpr int kStageBytes = 5 * kBox + 2 * 64 * 4;

__device__ __forceinline__ void bulk_load(void* to, const void* from, uint32_t bytes,
                                          uint64_t* bar) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
          hopper::shared_address(to)),
      "l"(from), "r"(bytes), "r"(hopper::shared_address(bar))
      : "memory");
}

// Which tiles of 64 stream past 128 rows: queries from the keys' own on, keys up to the queries'.
template <bool keys_stay>
struct Stream64 {
  int from, to;

  __device__ Stream64(int tile, int tokens) {
    const int last = (tokens + 63) / 64;
    from = keys_stay ? 2 * tile : 0;
    to = keys_stay ? last : min(2 * tile + 2, last);
  }
};

template <bool keys_stay>
__device__ void feed(Backward& s, const Maps& m, const float* lse, const float* delta,
                     int sequences, int tokens, int heads) {
  const int tiles = (tokens + kRows - 1) / kRows;
  const int all = tiles * heads * sequences;
  uint32_t stage = 0, phase = 0, kept_phase = 0;
  for (int i = blockIdx.x; i < all; i += gridDim.x) {
    const Work w(i, tiles, heads, sequences, !keys_stay);
    const int row = w.tile * kRows;
    hopper::barrier_wait(&s.kept_empty, kept_phase ^ 1);
    kept_phase ^= 1;
    hopper::barrier_expect(&s.kept_full, 5 * kTall);
    if constexpr (keys_stay) {
      load_keys<kRows>(s.wide[0], m, &s.kept_full, w.head, row, w.batch);
      load_wide<kRows>(s.narrow[0], m.kv, &s.kept_full, w.head * kPair + kNope, row, w.batch);
    } else {
      load_queries<kRows>(s.wide[0], m, &s.kept_full, w.head, row, w.batch);
      load_wide<kRows>(s.narrow[0], m.dout, &s.kept_full, w.head * kValue, row, w.batch);
    }
    const Stream64<keys_stay> t(w.tile, tokens);
    const long at = (static_cast<long>(w.batch) * heads + w.head) * (tiles * kRows);
    for (int j = t.from; j < t.to; j++) {
      uint64_t* full = &s.full[stage];
      hopper::barrier_wait(&s.empty[stage], phase ^ 1);
      hopper::barrier_expect(full, keys_stay ? kStageBytes : 5 * kBox);
      if constexpr (keys_stay) {
        load_queries<64>(s.wide_stream[stage][0], m, full, w.head, 64 * j, w.batch);
        load_wide<64>(s.narrow_stream[stage][0], m.dout, full, w.head * kValue, 64 * j, w.batch);
        bulk_load(s.lse[stage], lse + at + 64 * j, 256, full);
        bulk_load(s.delta[stage], delta + at + 64 * j, 256, full);
      } else {
        load_keys<64>(s.wide_stream[stage][0], m, full, w.head, 64 * j, w.batch);
        load_wide<64>(s.narrow_stream[stage][0], m.kv, full, w.head * kPair + kNope, 64 * j,
                      w.batch);
      }
      if (++stage == kStages) {
        stage = 0;
        phase ^= 1;
      }
    }
  }
}

__device__ __forceinline__ void start(Backward& s, int arrivals) {
  if (threadIdx.x == 0) {
    start_barriers(&s.kept_full, &s.kept_empty, 1);
    start_barriers(s.full, s.empty, kStages, arrivals);
    hopper::barrier_init_fence();
  }
  __syncthreads();
}

// d = a b^T over 128 numbers.
__device__ __forceinline__ void narrow_product(float (&d)[32], uint64_t a, uint64_t b) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
#pragma unroll
    for (int kk = 0; kk < 4; kk++) {
      hopper::wgmma<0, 0>(d, hopper::moved(a, i * kTall + kk * 32),
                          hopper::moved(b, i * kBox + kk * 32), i + kk > 0);
    }
  }
}

}  // namespace

// dkv (both halves) and dkr_heads[B, S, H, 64]: the part of each head.
extern "C" __global__ void __launch_bounds__(kThreads, 1)
    mla_prefill_dkv(const __grid_constant__ TensorMap map_q,
                    const __grid_constant__ TensorMap map_kv,
                    const __grid_constant__ TensorMap map_kr,
                    const __grid_constant__ TensorMap map_dout, const float* lse,
                    const float* delta, __nv_bfloat16* dkv, __nv_bfloat16* dkr_heads,
                    int sequences, int tokens, int heads, float scale) {
  extern __shared__ uint8_t raw[];
  Backward& s = *reinterpret_cast<Backward*>(raw + hopper::padding(raw, 1024));
  start(s, 2 * 128);  // a stage is empty when each thread has read its lse and delta
  if (threadIdx.x < 128) {
    hopper::registers_fewer<24>();
    if (threadIdx.x == 0) {
      feed<true>(s, Maps{&map_q, &map_kv, &map_kr, &map_dout}, lse, delta, sequences, tokens,
                 heads);
    }
  } else {
    hopper::registers_more<240>();
    const int consumer = threadIdx.x / 128 - 1;
    const int thread = threadIdx.x % 128;
    const int row0 = consumer * 64 + thread / 32 * 16 + thread % 32 / 4;
    const int quad = thread % 4;
    const float factor = scale * kLog2e;
    const int tiles = (tokens + kRows - 1) / kRows;
    const int all = tiles * heads * sequences;
    uint32_t stage = 0, phase = 0, kept_phase = 0;
    for (int i = blockIdx.x; i < all; i += gridDim.x) {
      const Work w(i, tiles, heads, sequences, false);
      const Stream64<true> t(w.tile, tokens);
      float dv[64], dk[96];
#pragma unroll
      for (int e = 0; e < 64; e++) {
        dv[e] = 0;
      }
#pragma unroll
      for (int e = 0; e < 96; e++) {
        dk[e] = 0;
      }
      hopper::barrier_wait(&s.kept_full, kept_phase);
      kept_phase ^= 1;
      uint64_t keys = hopper::operand(s.wide[0] + consumer * kBox, 16, 1024);
      uint64_t values = hopper::operand(s.narrow[0] + consumer * kBox, 16, 1024);
      for (int j = t.from; j < t.to; j++) {
        float score[32];
        uint32_t operand[4][4];
        hopper::barrier_wait(&s.full[stage], phase);
        hopper::keep_in_loop(keys);
        hopper::keep_in_loop(values);
        hopper::wgmma_fence();
        logits<kRows, 64>(score, keys, hopper::operand(s.wide_stream[stage][0], 16, 1024));
        hopper::wgmma_commit();
        hopper::wgmma_wait<0>();
        // Column c of the tile is query 64 j + c; a key sees the queries from its own on.
        const int first = w.tile * kRows + row0 - 64 * j - 2 * quad;
#pragma unroll
        for (int e = 0; e < 32; e += 2) {
          const int column = e / 4 * 8;
          const float2 shift =
              *reinterpret_cast<const float2*>(&s.lse[stage][column + 2 * quad]);
          score[e] = exp2_fast(fmaf(factor, score[e], -shift.x));
          score[e + 1] = exp2_fast(fmaf(factor, score[e + 1], -shift.y));
          if (column < first + e / 2 % 2 * 8) {
            score[e] = 0;
          }
          if (column + 1 < first + e / 2 % 2 * 8) {
            score[e + 1] = 0;
          }
        }
#pragma unroll
        for (int kk = 0; kk < 4; kk++) {
          hopper::pack_operand(score + 8 * kk, operand[kk]);
        }
        float slope[32];
        hopper::wgmma_fence();
        narrow_product(slope, values, hopper::operand(s.narrow_stream[stage][0], 16, 1024));
        hopper::wgmma_commit();
        const uint64_t douts = hopper::operand(s.narrow_stream[stage][0], kBox, 1024);
#pragma unroll
        for (int kk = 0; kk < 4; kk++) {
          hopper::wgmma<1>(dv, operand[kk], hopper::moved(douts, kk * 2048), 1);
        }
        hopper::wgmma_commit();
        hopper::wgmma_wait<1>();
#pragma unroll
        for (int e = 0; e < 32; e += 2) {  // the weights as rounded: float32 ones do not fit beside
          const float2 p = hopper::unpack(operand[e / 8][e % 8 / 2]);
          const float2 mean =
              *reinterpret_cast<const float2*>(&s.delta[stage][e / 4 * 8 + 2 * quad]);
          slope[e] = p.x * (slope[e] - mean.x);
          slope[e + 1] = p.y * (slope[e + 1] - mean.y);
        }
        hopper::wgmma_wait<0>();
#pragma unroll
        for (int kk = 0; kk < 4; kk++) {
          hopper::pack_operand(slope + 8 * kk, operand[kk]);
        }
        hopper::wgmma_fence();
        const uint64_t queries = hopper::operand(s.wide_stream[stage][0], kBox, 1024);
#pragma unroll
        for (int kk = 0; kk < 4; kk++) {
          hopper::wgmma<1>(dk, operand[kk], hopper::moved(queries, kk * 2048), 1);
        }
        hopper::wgmma_commit();
        hopper::wgmma_wait<0>();
        hopper::barrier_arrive(&s.empty[stage]);
        if (thread % 32 == 0 && j + 1 == t.to) {
          hopper::barrier_arrive(&s.kept_empty);
        }
        if (++stage == kStages) {
          stage = 0;
          phase ^= 1;
        }
      }
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int row = w.tile * kRows + row0 + 8 * h;
        if (row < tokens) {
          const long at = (static_cast<long>(w.batch) * tokens + row) * heads + w.head;
          __nv_bfloat16* pair = dkv + at * kPair + 2 * quad;
          __nv_bfloat16* rotated = dkr_heads + at * kRope + 2 * quad;
#pragma unroll
          for (int j = 0; j < 24; j++) {
            __nv_bfloat16* to = j < 16 ? pair + 8 * j : rotated + 8 * (j - 16);
            *reinterpret_cast<__nv_bfloat162*>(to) = __floats2bfloat162_rn(
                scale * dk[4 * j + 2 * h], scale * dk[4 * j + 2 * h + 1]);
          }
#pragma unroll
          for (int j = 0; j < 16; j++) {
            *reinterpret_cast<__nv_bfloat162*>(pair + kNope + 8 * j) =
                __floats2bfloat162_rn(dv[4 * j + 2 * h], dv[4 * j + 2 * h + 1]);
          }
        }
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    mla_prefill_dq(const __grid_constant__ TensorMap map_q,
                   const __grid_constant__ TensorMap map_kv,
                   const __grid_constant__ TensorMap map_kr,
                   const __grid_constant__ TensorMap map_dout, const float* lse, const float* delta,
                   __nv_bfloat16* dq, int sequences, int tokens, int heads, float scale) {
  extern __shared__ uint8_t raw[];
  Backward& s = *reinterpret_cast<Backward*>(raw + hopper::padding(raw, 1024));
  start(s, 8);
  if (threadIdx.x < 128) {
    hopper::registers_fewer<24>();
    if (threadIdx.x == 0) {
      feed<false>(s, Maps{&map_q, &map_kv, &map_kr, &map_dout}, lse, delta, sequences, tokens,
                  heads);
    }
  } else {
    hopper::registers_more<240>();
    const int consumer = threadIdx.x / 128 - 1;
    const int thread = threadIdx.x % 128;
    const int row0 = consumer * 64 + thread / 32 * 16 + thread % 32 / 4;
    const int quad = thread % 4;
    const float factor = scale * kLog2e;
    const int tiles = (tokens + kRows - 1) / kRows;
    const int all = tiles * heads * sequences;
    uint32_t stage = 0, phase = 0, kept_phase = 0;
    for (int i = blockIdx.x; i < all; i += gridDim.x) {
      const Work w(i, tiles, heads, sequences, true);
      const Stream64<false> t(w.tile, tokens);
      const long at = (static_cast<long>(w.batch) * heads + w.head) * (tiles * kRows) +
                      w.tile * kRows + row0;
      const float shift[2] = {lse[at], lse[at + 8]}, mean[2] = {delta[at], delta[at + 8]};
      float sum[96];
#pragma unroll
      for (int e = 0; e < 96; e++) {
        sum[e] = 0;
      }
      hopper::barrier_wait(&s.kept_full, kept_phase);
      kept_phase ^= 1;
      uint64_t queries = hopper::operand(s.wide[0] + consumer * kBox, 16, 1024);
      uint64_t douts = hopper::operand(s.narrow[0] + consumer * kBox, 16, 1024);
      for (int j = t.from; j < t.to; j++) {
        float score[32], slope[32];
        uint32_t operand[4][4];
        hopper::barrier_wait(&s.full[stage], phase);
        hopper::keep_in_loop(queries);
        hopper::keep_in_loop(douts);
        hopper::wgmma_fence();
        logits<kRows, 64>(score, queries, hopper::operand(s.wide_stream[stage][0], 16, 1024));
        hopper::wgmma_commit();
        narrow_product(slope, douts, hopper::operand(s.narrow_stream[stage][0], 16, 1024));
        hopper::wgmma_commit();
        hopper::wgmma_wait<1>();
        const int last = w.tile * kRows + row0 - 64 * j - 2 * quad;  // the query's own column
#pragma unroll
        for (int e = 0; e < 32; e++) {
          score[e] = exp2_fast(fmaf(factor, score[e], -shift[e / 2 % 2]));
          if (e / 4 * 8 + e % 2 > last + e / 2 % 2 * 8) {
            score[e] = 0;
          }
        }
        hopper::wgmma_wait<0>();
#pragma unroll
        for (int e = 0; e < 32; e++) {
          slope[e] = score[e] * (slope[e] - mean[e / 2 % 2]);
        }
#pragma unroll
        for (int kk = 0; kk < 4; kk++) {
          hopper::pack_operand(slope + 8 * kk, operand[kk]);
        }
        hopper::wgmma_fence();
        const uint64_t keys = hopper::operand(s.wide_stream[stage][0], kBox, 1024);
#pragma unroll
        for (int kk = 0; kk < 4; kk++) {
          hopper::wgmma<1>(sum, operand[kk], hopper::moved(keys, kk * 2048), 1);
        }
        hopper::wgmma_commit();
        hopper::wgmma_wait<0>();
        if (thread % 32 == 0) {
          hopper::barrier_arrive(&s.empty[stage]);
          if (j + 1 == t.to) {
            hopper::barrier_arrive(&s.kept_empty);
          }
        }
        if (++stage == kStages) {
          stage = 0;
          phase ^= 1;
        }
      }
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int row = w.tile * kRows + row0 + 8 * h;
        if (row < tokens) {
          __nv_bfloat16* to =
              dq + ((static_cast<long>(w.batch) * tokens + row) * heads + w.head) * kQuery +
              2 * quad;
#pragma unroll
          for (int j = 0; j < 24; j++) {
            *reinterpret_cast<__nv_bfloat162*>(to + 8 * j) = __floats2bfloat162_rn(
                scale * sum[4 * j + 2 * h], scale * sum[4 * j + 2 * h + 1]);
          }
        }
      }
    }
  }
}

#endif  // PERIGEE_HOPPER

// dkr[t, :] = sum over the heads, in order. A warp a token of B * S; 64 numbers a row.
extern "C" __global__ void __launch_bounds__(256)
    mla_prefill_dkr(const __nv_bfloat162* dkr_heads, __nv_bfloat162* dkr, int rows, int heads) {
  const int t = blockIdx.x * 8 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (t >= rows) {
    return;
  }
  float2 sum = make_float2(0, 0);
  const __nv_bfloat162* from = dkr_heads + static_cast<long>(t) * heads * 32 + lane;
#pragma unroll 8
  for (int h = 0; h < heads; h++) {
    const float2 v = __bfloat1622float2(from[32 * h]);
    sum.x += v.x;
    sum.y += v.y;
  }
  dkr[static_cast<long>(t) * 32 + lane] = __floats2bfloat162_rn(sum.x, sum.y);
}
