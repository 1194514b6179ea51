// Normal numbers that depend on seed and index alone: the same on any chip, in any order.
#include <cuda_bf16.h>
#include <stdint.h>

namespace {

// The finaliser of SplitMix64: every bit of the input reaches every bit of the output.
__device__ uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

}  // namespace

// out[i] = deviation * N(0, 1), by Box and Muller, two numbers from one hash.
extern "C" __global__ void random_normal(__nv_bfloat16* out, long n, int seed, float deviation) {
  const long stride = 2l * gridDim.x * blockDim.x;
  for (long i = 2l * (blockIdx.x * (long)blockDim.x + threadIdx.x); i < n; i += stride) {
    const uint64_t bits = mix(mix(static_cast<uint64_t>(seed)) ^ static_cast<uint64_t>(i));
    const float u = ((bits >> 40) + 0.5f) * 0x1p-24f;
    const float angle = (bits & 0xFFFFFF) * (6.2831853f * 0x1p-24f);
    const float radius = deviation * sqrtf(-2.0f * logf(u));
    float sine, cosine;
    sincosf(angle, &sine, &cosine);
    out[i] = __float2bfloat16(radius * cosine);
    if (i + 1 < n) {
      out[i + 1] = __float2bfloat16(radius * sine);
    }
  }
}
