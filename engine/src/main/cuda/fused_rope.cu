// Rotates the last 2 P numbers of every head's `width`, adjacent ones as pairs, by the angles of the
// row's position (RoFormer, equation 34), in place in bf16; sign -1 rotates back, which is also the
// gradient. The plain float32 kernel is in rotate.cu. cosine, sine: [positions, P] in float32.
#include "eight.cuh"

constexpr int kHeads = 4;  // of one thread, which loads the angles for them once

// A thread takes four pairs of every `step`-th head of a row, step = heads / kHeads rounded up; all loads
// are under way before the first store, and both are told that nobody comes back for the lines, which
// takes 4 % off the time. Sizes in eights of numbers: `rotated8` of each `width8`.
extern "C" __global__ void __launch_bounds__(256)
    fused_rope(uint4* x, const int* position, const float4* cosine, const float4* sine, int threads,
               int heads, int step, int width8, int rotated8, float sign) {
  const unsigned i = blockIdx.x * 256 + threadIdx.x;
  if (i >= static_cast<unsigned>(threads)) {
    return;
  }
  const unsigned at = i % rotated8, first = i / rotated8 % step, row = i / rotated8 / step;
  const long angle = static_cast<long>(position[row]) * rotated8 + at;
  uint4* to = x + (static_cast<long>(row) * heads + first) * width8 + width8 - rotated8 + at;
  uint4 v8[kHeads];
#pragma unroll
  for (int h = 0; h < kHeads; h++) {
    if (first + h * step < heads) {
      v8[h] = __ldcs(&to[static_cast<long>(h) * step * width8]);
    }
  }
  const float4 c = __ldg(&cosine[angle]), s = __ldg(&sine[angle]);
  const float cosines[4] = {c.x, c.y, c.z, c.w};
  const float sines[4] = {sign * s.x, sign * s.y, sign * s.z, sign * s.w};
#pragma unroll
  for (int h = 0; h < kHeads; h++) {
    if (first + h * step < heads) {
      float v[8], turned[8];
      to_floats(v8[h], v);
#pragma unroll
      for (int p = 0; p < 4; p++) {
        turned[2 * p] = v[2 * p] * cosines[p] - v[2 * p + 1] * sines[p];
        turned[2 * p + 1] = v[2 * p + 1] * cosines[p] + v[2 * p] * sines[p];
      }
      __stcs(&to[static_cast<long>(h) * step * width8], to_bf16(turned));
    }
  }
}
