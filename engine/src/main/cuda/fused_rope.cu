// Rotates the last 2 P numbers of every head's `width`, adjacent ones as pairs, by the angles of the
// row's position (RoFormer, equation 34), in place in bf16; sign -1 rotates back, which is also the
// gradient. The plain float32 kernel is in rotate.cu. cosine, sine: [positions, P] in float32.
#include "eight.cuh"

// A thread takes four pairs of a head. More heads to a thread would load the angles less often, which
// come from the second-level cache, and took 2 % longer. Loads and stores are told that nobody comes
// back for the lines, which takes 4 % off the time. Sizes in eights of numbers: `rotated8` of each
// `width8`.
extern "C" __global__ void __launch_bounds__(256)
    fused_rope(uint4* x, const int* position, const float4* cosine, const float4* sine, int threads,
               int heads, int width8, int rotated8, float sign) {
  const unsigned i = blockIdx.x * 256 + threadIdx.x;
  if (i >= static_cast<unsigned>(threads)) {
    return;
  }
  const unsigned at = i % rotated8, head = i / rotated8;  // of all rows
  uint4* to = x + static_cast<long>(head) * width8 + width8 - rotated8 + at;
  const uint4 v8 = __ldcs(to);
  const long angle = static_cast<long>(position[head / heads]) * rotated8 + at;
  const float4 c = __ldg(&cosine[angle]), s = __ldg(&sine[angle]);
  const float cosines[4] = {c.x, c.y, c.z, c.w};
  const float sines[4] = {sign * s.x, sign * s.y, sign * s.z, sign * s.w};
  float v[8], turned[8];
  to_floats(v8, v);
#pragma unroll
  for (int p = 0; p < 4; p++) {
    turned[2 * p] = v[2 * p] * cosines[p] - v[2 * p + 1] * sines[p];
    turned[2 * p + 1] = v[2 * p + 1] * cosines[p] + v[2 * p] * sines[p];
  }
  __stcs(to, to_bf16(turned));
}
