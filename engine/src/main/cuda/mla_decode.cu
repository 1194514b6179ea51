// Attention of one new token a sequence over a paged latent cache, with the projections absorbed
// (DeepSeek-V2, section 2.1.2): a token's key is its latent beside the rotated part, 576 numbers,
// and its value the latent alone, the first 512 of the same. So a page is read once for both.
//
//   s[h, t] = scale q[b, h] . c[t],   out[b, h] = sum_t softmax(s[h])[t] c[t, :512]
//
// Legend: B sequences, H heads, pages of 64 tokens; table[b, i] is the page of tokens 64 i to
// 64 i + 63 of b, lengths[b] the number of tokens. Both are read on the device.
//
// The pages of all sequences form one list, of which every block takes an equal share, whatever the
// lengths: a share may end within a sequence, and then holds a part of its sum. mla_decode_combine
// adds the parts. A block's producer thread feeds two stages, a page each, through the copy engine.
// Each of the two consumer groups computes all of s for 64 heads, so the groups need no exchange,
// and half of the columns of out. Fewer heads than 64 cost as many operations; reading the pages
// still takes longer.
#include "wgmma.cuh"

namespace {

[[maybe_unused]] constexpr int kPage = 64;
[[maybe_unused]] constexpr int kKey = 576;
constexpr int kValue = 512;
[[maybe_unused]] constexpr int kHeads = 64;       // of a block
[[maybe_unused]] constexpr int kSequences = 1024;  // at most
[[maybe_unused]] constexpr float kLog2e = 1.44269504f;

#ifdef PERIGEE_HOPPER

constexpr int kBlock = 64 * 64 * 2;
constexpr int kBoxes = kKey / 64;
constexpr int kPageBytes = kBoxes * kBlock;
constexpr int kThreads = 384;

struct Shared {
  uint8_t q[kPageBytes];
  uint8_t page[2][kPageBytes];
  int first[kSequences + 1];  // the first page of each sequence in the list of all
  uint64_t full[2], empty[2], q_full, q_empty;
};

// A block's walk over its share of the pages, one sequence after the other.
struct Share {
  const int* first;
  int sequences, next, end;
  int sequence = 0, from = 0, to = 0;  // pages `from` up to `to` of `sequence`

  __device__ Share(const int* first, int sequences) : first(first), sequences(sequences) {
    const int each = (first[sequences] + gridDim.x - 1) / gridDim.x;
    next = min(static_cast<int>(blockIdx.x) * each, first[sequences]);
    end = min(next + each, first[sequences]);
  }

  __device__ bool advance() {
    if (next >= end) {
      return false;
    }
    while (first[sequence + 1] <= next) {
      sequence++;
    }
    from = next - first[sequence];
    next = min(end, first[sequence + 1]);
    to = next - first[sequence];
    return true;
  }

  __device__ bool whole() const {
    return from == 0 && to == first[sequence + 1] - first[sequence];
  }
};

__device__ void list_pages(Shared& s, const int* lengths, int sequences, int* first) {
  const int lane = threadIdx.x;
  int before = 0;
  for (int b0 = 0; b0 < sequences; b0 += 32) {
    int sum = b0 + lane < sequences ? (lengths[b0 + lane] + kPage - 1) / kPage : 0;
    for (int d = 1; d < 32; d *= 2) {
      const int other = __shfl_up_sync(~0u, sum, d);
      sum += lane >= d ? other : 0;
    }
    if (b0 + lane < sequences) {
      s.first[b0 + lane + 1] = before + sum;
    }
    before += __shfl_sync(~0u, sum, 31);
  }
  if (lane == 0) {
    s.first[0] = 0;
  }
  __syncwarp();
  if (blockIdx.x == 0 && blockIdx.y == 0) {
    for (int b = lane; b <= sequences; b += 32) {
      first[b] = s.first[b];
    }
  }
}

#endif  // PERIGEE_HOPPER

}  // namespace

#ifdef PERIGEE_HOPPER

// part[block + sequence, h, :] and part_lse[block + sequence, h]: a block's part of a sequence.
// first[b]: for the combining kernel. Grid: x any number of blocks, y over 64 heads each.
extern "C" __global__ void __launch_bounds__(kThreads, 1)
    mla_decode(const __grid_constant__ TensorMap map_q, const __grid_constant__ TensorMap map_cache,
               const int* table, const int* lengths, __nv_bfloat16* out, float* part,
               float* part_lse, int* first, int sequences, int heads, int table_width,
               float scale) {
  extern __shared__ uint8_t raw[];
  Shared& s = *reinterpret_cast<Shared*>(raw + hopper::padding(raw, 1024));
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; i++) {
      hopper::barrier_init(&s.full[i], 1);
      hopper::barrier_init(&s.empty[i], 8);
    }
    hopper::barrier_init(&s.q_full, 1);
    hopper::barrier_init(&s.q_empty, 8);
    hopper::barrier_init_fence();
    hopper::prefetch_map(&map_q);
    hopper::prefetch_map(&map_cache);
  }
  if (threadIdx.x < 32) {
    list_pages(s, lengths, sequences, first);
  }
  __syncthreads();

  Share share(s.first, sequences);
  const int head0 = blockIdx.y * kHeads;
  int stage = 0;
  uint32_t phase = 0, q_phase = 0;
  if (threadIdx.x < 128) {
    hopper::registers_fewer<40>();
    if (threadIdx.x == 0) {
      while (share.advance()) {
        const int* pages = table + static_cast<long>(share.sequence) * table_width;
        int page = pages[share.from];
        hopper::barrier_wait(&s.q_empty, q_phase ^ 1);
        q_phase ^= 1;
        hopper::barrier_expect(&s.q_full, kPageBytes);
#pragma unroll 1
        for (int i = 0; i < kBoxes; i++) {
          hopper::tma_load(s.q + i * kBlock, &map_q, &s.q_full, 64 * i, head0, share.sequence);
        }
        for (int p = share.from; p < share.to; p++) {
          const int here = page;
          page = p + 1 < share.to ? pages[p + 1] : 0;  // in flight while this one is waited for
          hopper::barrier_wait(&s.empty[stage], phase ^ 1);
          hopper::barrier_expect(&s.full[stage], kPageBytes);
#pragma unroll 1
          for (int i = 0; i < kBoxes; i++) {
            hopper::tma_load(s.page[stage] + i * kBlock, &map_cache, &s.full[stage], 64 * i, 0,
                             here);
          }
          stage ^= 1;
          phase ^= stage == 0;
        }
      }
    }
  } else {
    hopper::registers_more<232>();
    const int consumer = threadIdx.x / 128 - 1;
    const int thread = threadIdx.x % 128;
    const int quad = thread % 4;
    const float factor = scale * kLog2e;
    while (share.advance()) {
      hopper::barrier_wait(&s.q_full, q_phase);
      q_phase ^= 1;
      float sum_out[128];
      float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {};
      const int length = lengths[share.sequence];
#pragma unroll
      for (int i = 0; i < 128; i++) {
        sum_out[i] = 0;
      }
      for (int p = share.from; p < share.to; p++) {
        uint8_t* page = s.page[stage];
        const int valid = length - p * kPage;
        hopper::barrier_wait(&s.full[stage], phase);
        if (valid < kPage) {
          // Beyond the end lies whatever the page held before; zero times that may be NaN.
          for (int i = thread + 128 * consumer; i < (kPage - valid) * kBoxes * 8; i += 256) {
            const int row = valid + i / (kBoxes * 8), at = i % (kBoxes * 8);
            *reinterpret_cast<uint4*>(page + at / 8 * kBlock + row * 128 + at % 8 * 16) =
                make_uint4(0, 0, 0, 0);
          }
          hopper::async_fence();
          hopper::group_sync(1, 256);
        }
        float score[32];
        uint64_t q = hopper::operand(s.q, 16, 1024);
        uint64_t k = hopper::operand(page, 16, 1024);
        uint64_t v = hopper::operand(page + consumer * 4 * kBlock, kBlock, 1024);
        hopper::keep_in_loop(q);
        hopper::wgmma_fence();
#pragma unroll
        for (int i = 0; i < kBoxes; i++) {
#pragma unroll
          for (int kk = 0; kk < 4; kk++) {
            const int at = i * kBlock + kk * 32;
            hopper::wgmma<0, 0>(score, hopper::moved(q, at), hopper::moved(k, at), i + kk > 0);
          }
        }
        hopper::wgmma_commit();
        hopper::wgmma_wait<0>();
        float before[2] = {largest[0], largest[1]};
#pragma unroll
        for (int i = 0; i < 32; i++) {
          if (i / 4 * 8 + 2 * quad + i % 2 >= valid) {
            score[i] = -INFINITY;
          }
          largest[i / 2 % 2] = fmaxf(largest[i / 2 % 2], score[i]);
        }
        float keep[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
          largest[h] = fmaxf(largest[h], __shfl_xor_sync(~0u, largest[h], 1));
          largest[h] = fmaxf(largest[h], __shfl_xor_sync(~0u, largest[h], 2));
          keep[h] = exp2f(factor * (before[h] - largest[h]));
          sum[h] *= keep[h];
        }
#pragma unroll
        for (int i = 0; i < 32; i++) {
          const int h = i / 2 % 2;
          score[i] = exp2f(factor * (score[i] - largest[h]));
          sum[h] += score[i];
        }
#pragma unroll
        for (int i = 0; i < 128; i++) {
          sum_out[i] *= keep[i / 2 % 2];
        }
        uint32_t weights[4][4];
#pragma unroll
        for (int kk = 0; kk < 4; kk++) {
          hopper::pack_operand(score + 8 * kk, weights[kk]);
        }
        hopper::wgmma_fence();
#pragma unroll
        for (int kk = 0; kk < 4; kk++) {
          hopper::wgmma<1>(sum_out, weights[kk], hopper::moved(v, kk * 2048), 1);
        }
        hopper::wgmma_commit();
        hopper::wgmma_wait<0>();
        if (thread % 32 == 0) {
          hopper::barrier_arrive(&s.empty[stage]);
          if (p + 1 == share.to) {
            hopper::barrier_arrive(&s.q_empty);
          }
        }
        stage ^= 1;
        phase ^= stage == 0;
      }
#pragma unroll
      for (int h = 0; h < 2; h++) {
        sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
        sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
        const int head = head0 + thread / 32 * 16 + h * 8 + thread % 32 / 4;
        if (head >= heads) {
          continue;
        }
        const float inverse = 1 / sum[h];
        const int column = consumer * 256 + 2 * quad;
        if (share.whole()) {
          __nv_bfloat16* to =
              out + (static_cast<long>(share.sequence) * heads + head) * kValue + column;
#pragma unroll
          for (int j = 0; j < 32; j++) {
            *reinterpret_cast<__nv_bfloat162*>(to + 8 * j) = __floats2bfloat162_rn(
                sum_out[4 * j + 2 * h] * inverse, sum_out[4 * j + 2 * h + 1] * inverse);
          }
        } else {
          const long slot = static_cast<long>(blockIdx.x + share.sequence) * heads + head;
          float* to = part + slot * kValue + column;
#pragma unroll
          for (int j = 0; j < 32; j++) {
            *reinterpret_cast<float2*>(to + 8 * j) = make_float2(
                sum_out[4 * j + 2 * h] * inverse, sum_out[4 * j + 2 * h + 1] * inverse);
          }
          if (consumer == 0 && quad == 0) {
            part_lse[slot] = factor * largest[h] + log2f(sum[h]);  // to the base 2
          }
        }
      }
    }
  }
}

#endif  // PERIGEE_HOPPER

// Adds the parts of the sequences that several blocks of mla_decode shared; a sequence without
// tokens gets zeros. A warp a head; grid: x over heads, y over sequences. `blocks`: of mla_decode.
extern "C" __global__ void __launch_bounds__(128)
    mla_decode_combine(const float* part, const float* part_lse, const int* first,
                       __nv_bfloat16* out, int sequences, int heads, int blocks) {
  const int b = blockIdx.y, lane = threadIdx.x % 32;
  const int head = blockIdx.x * 4 + threadIdx.x / 32;
  if (head >= heads) {
    return;
  }
  const int each = (first[sequences] + blocks - 1) / blocks;
  const int begin = first[b], end = first[b + 1];
  const int block0 = each == 0 ? 0 : begin / each;
  const int block1 = end == begin ? block0 : (end - 1) / each;
  if (end > begin && block0 == block1) {
    return;  // one block wrote it
  }
  float sum[16] = {};
  if (end > begin) {
    float largest = -INFINITY, total = 0;
    for (int i = block0; i <= block1; i++) {
      largest = fmaxf(largest, part_lse[static_cast<long>(i + b) * heads + head]);
    }
    for (int i = block0; i <= block1; i++) {
      const long slot = static_cast<long>(i + b) * heads + head;
      const float weight = exp2f(part_lse[slot] - largest);
      total += weight;
      const float4* from = reinterpret_cast<const float4*>(part + slot * kValue) + lane;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const float4 v = from[32 * j];
        sum[4 * j] = fmaf(weight, v.x, sum[4 * j]);
        sum[4 * j + 1] = fmaf(weight, v.y, sum[4 * j + 1]);
        sum[4 * j + 2] = fmaf(weight, v.z, sum[4 * j + 2]);
        sum[4 * j + 3] = fmaf(weight, v.w, sum[4 * j + 3]);
      }
    }
    for (int j = 0; j < 16; j++) {
      sum[j] /= total;
    }
  }
  __nv_bfloat16* to = out + (static_cast<long>(b) * heads + head) * kValue + 4 * lane;
#pragma unroll
  for (int j = 0; j < 4; j++) {
    *reinterpret_cast<__nv_bfloat162*>(to + 128 * j) =
        __floats2bfloat162_rn(sum[4 * j], sum[4 * j + 1]);
    *reinterpret_cast<__nv_bfloat162*>(to + 128 * j + 2) =
        __floats2bfloat162_rn(sum[4 * j + 2], sum[4 * j + 3]);
  }
}
