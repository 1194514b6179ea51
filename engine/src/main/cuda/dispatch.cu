// Rows of tokens to the experts that were chosen for them, and back.
//
// An assignment i = t * k + j is the j-th expert of token t. Experts' rows lie in memory one expert
// after the other, each in the order of assignments, whatever the timing: slot[i] is the row of
// assignment i, order[row] the assignment of a row, offsets[e] the first row of expert e.
#include "hopper.cuh"

namespace {

constexpr int kChunk = 512;  // assignments that one warp walks in order

// Counts this warp's chunk into `seen` (one counter an expert) and hands each assignment its rank
// among the equal ones before it in the chunk.
template <typename Visit>
__device__ void walk_chunk(const int* expert, int assignments, int* seen, Visit visit) {
  const int lane = threadIdx.x;
  const int first = blockIdx.x * kChunk + lane;
  int chosen[kChunk / 32];
#pragma unroll
  for (int n = 0; n < kChunk / 32; n++) {  // all loads in flight before the first use
    const int i = first + 32 * n;
    chosen[n] = i < assignments ? expert[i] : -1;
  }
#pragma unroll
  for (int n = 0; n < kChunk / 32; n++) {
    const int i = first + 32 * n;
    const int e = chosen[n];
    const uint32_t equals = __match_any_sync(~0u, e);
    const int before = __popc(equals & ((1u << lane) - 1));
    if (e >= 0) {
      visit(i, e, seen[e] + before);
    }
    __syncwarp();
    if (e >= 0 && before == 0) {
      seen[e] += __popc(equals);
    }
    __syncwarp();
  }
}

}  // namespace

// counts[chunk, e]: assignments of the chunk to expert e. One warp a block; shared: experts words.
extern "C" __global__ void dispatch_count(const int* expert, int* counts, int assignments,
                                          int experts) {
  extern __shared__ int seen[];
  for (int e = threadIdx.x; e < experts; e += 32) {
    seen[e] = 0;
  }
  __syncwarp();
  walk_chunk(expert, assignments, seen, [](int, int, int) {});
  for (int e = threadIdx.x; e < experts; e += 32) {
    counts[blockIdx.x * experts + e] = seen[e];
  }
}

// counts[chunk, e] becomes the row of the chunk's first assignment to e; offsets its prefix sums.
// One block of at least `experts` threads, a power of two.
extern "C" __global__ void dispatch_scan(int* counts, int* offsets, int chunks, int experts) {
  extern __shared__ int total[];
  const int e = threadIdx.x;
  int sum = 0;
  if (e < experts) {
#pragma unroll 16
    for (int c = 0; c < chunks; c++) {
      sum += counts[c * experts + e];
    }
  }
  total[e] = sum;
  __syncthreads();
  for (int d = 1; d < blockDim.x; d *= 2) {
    const int before = e >= d ? total[e - d] : 0;
    __syncthreads();
    total[e] += before;
    __syncthreads();
  }
  if (e < experts) {
    int row = total[e] - sum;
    offsets[e] = row;
    if (e == experts - 1) {
      offsets[experts] = total[e];
    }
    for (int c0 = 0; c0 < chunks; c0 += 8) {
      int n[8];
#pragma unroll
      for (int c = 0; c < 8; c++) {  // eight loads in flight before the stores
        n[c] = c0 + c < chunks ? counts[(c0 + c) * experts + e] : 0;
      }
#pragma unroll
      for (int c = 0; c < 8; c++) {
        if (c0 + c < chunks) {
          counts[(c0 + c) * experts + e] = row;
        }
        row += n[c];
      }
    }
  }
}

// slot and order, from what dispatch_scan left in counts. One warp a block; shared: experts words.
extern "C" __global__ void dispatch_place(const int* expert, const int* counts, int* slot,
                                          int* order, int assignments, int experts) {
  extern __shared__ int seen[];
  for (int e = threadIdx.x; e < experts; e += 32) {
    seen[e] = counts[blockIdx.x * experts + e];
  }
  __syncwarp();
  walk_chunk(expert, assignments, seen, [&](int i, int, int row) {
    slot[i] = row;
    order[row] = i;
  });
}

// y[slot[t * k + j]] = x[t] for every j: a row is read once and written k times. A warp a token.
extern "C" __global__ void __launch_bounds__(256)
    dispatch_rows(const uint4* x, const int* slot, uint4* y, int tokens, int chosen, int width8) {
  const int t = blockIdx.x * 8 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (t >= tokens) {
    return;
  }
  const int row = lane < chosen ? slot[t * chosen + lane] : 0;
  for (int c = lane; c - lane < width8; c += 128) {
    uint4 v[4];
#pragma unroll
    for (int u = 0; u < 4; u++) {
      if (c + 32 * u < width8) {
        v[u] = __ldg(&x[(long)t * width8 + c + 32 * u]);
      }
    }
    for (int j = 0; j < chosen; j++) {
      const long to = (long)__shfl_sync(~0u, row, j) * width8;
#pragma unroll
      for (int u = 0; u < 4; u++) {
        if (c + 32 * u < width8) {
          y[to + c + 32 * u] = v[u];
        }
      }
    }
  }
}

#ifdef PERIGEE_HOPPER
// The same through the copy engine, which reads a row once and writes it k times without a register.
// A warp a token; shared: a row for each of the eight, divisible by 16 bytes.
extern "C" __global__ void __launch_bounds__(256)
    dispatch_rows_hopper(const uint4* x, const int* slot, uint4* y, int tokens, int chosen,
                         int width8) {
  extern __shared__ uint4 rows[];
  __shared__ uint64_t there[8];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int t = blockIdx.x * 8 + warp;
  if (t >= tokens) {
    return;
  }
  uint4* row = rows + warp * width8;
  if (lane == 0) {
    hopper::barrier_init(&there[warp], 1);
    hopper::barrier_init_fence();
    hopper::barrier_expect(&there[warp], width8 * sizeof(uint4));
    hopper::bulk_load(row, x + static_cast<long>(t) * width8, width8 * sizeof(uint4), &there[warp]);
  }
  __syncwarp();
  if (lane < chosen) {
    const long to = slot[t * chosen + lane];
    hopper::barrier_wait(&there[warp], 0);
    hopper::bulk_store(y + to * width8, row, width8 * sizeof(uint4));
    hopper::tma_store_commit();
    hopper::tma_store_wait_read<0>();
  }
}
#endif  // PERIGEE_HOPPER

// out[t] = sum_j weight[t, j] y[slot[t * k + j]] + a[t] + b[t]; without weights each counts once,
// a and b may be null. Sums in float32, in the order of j. A warp a token.
extern "C" __global__ void __launch_bounds__(256)
    combine_rows(const uint4* y, const int* slot, const float* weight, const uint4* a,
                 const uint4* b, uint4* out, int tokens, int chosen, int width8) {
  const int t = blockIdx.x * 8 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (t >= tokens) {
    return;
  }
  const int row = lane < chosen ? slot[t * chosen + lane] : 0;
  const float factor = weight != nullptr && lane < chosen ? weight[t * chosen + lane] : 1;
  for (int c0 = 0; c0 < width8; c0 += 32) {
    const int c = c0 + lane;
    float sum[8] = {};
    const auto add = [&](uint4 v, float w) {
      const __nv_bfloat162* p = reinterpret_cast<const __nv_bfloat162*>(&v);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float2 f = __bfloat1622float2(p[i]);
        sum[2 * i] = fmaf(w, f.x, sum[2 * i]);
        sum[2 * i + 1] = fmaf(w, f.y, sum[2 * i + 1]);
      }
    };
    for (int j0 = 0; j0 < chosen; j0 += 8) {
      uint4 v[8];
#pragma unroll
      for (int j = 0; j < 8; j++) {  // all loads in flight before the first sum
        const int from = __shfl_sync(~0u, row, (j0 + j) % 32);
        if (j0 + j < chosen && c < width8) {
          v[j] = __ldg(&y[(long)from * width8 + c]);
        }
      }
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const float w = __shfl_sync(~0u, factor, (j0 + j) % 32);
        if (j0 + j < chosen && c < width8) {
          add(v[j], w);
        }
      }
    }
    if (c < width8) {
      if (a != nullptr) {
        add(__ldg(&a[(long)t * width8 + c]), 1);
      }
      if (b != nullptr) {
        add(__ldg(&b[(long)t * width8 + c]), 1);
      }
      uint4 result;
      __nv_bfloat162* p = reinterpret_cast<__nv_bfloat162*>(&result);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        p[i] = __floats2bfloat162_rn(sum[2 * i], sum[2 * i + 1]);
      }
      out[(long)t * width8 + c] = result;
    }
  }
}
