// Rotates adjacent pairs of the last 2 x pairs of every `width` columns by the angle of the row's
// position, in place; sign -1 rotates back, which is also the gradient. A block a row.

extern "C" __global__ void __launch_bounds__(128)
    rotate_pairs(float* x, const int* position, const float* cosine, const float* sine, int columns,
                 int width, int pairs, float sign) {
  float* row = x + (long)blockIdx.x * columns;
  const long angle = (long)position[blockIdx.x] * pairs;
  const int all = columns / width * pairs;
  for (int i = threadIdx.x; i < all; i += blockDim.x) {
    const int pair = i % pairs;
    const int at = (i / pairs + 1) * width - 2 * pairs + 2 * pair;
    const float c = cosine[angle + pair], s = sign * sine[angle + pair];
    const float a = row[at], b = row[at + 1];
    row[at] = a * c - b * s;
    row[at + 1] = b * c + a * s;
  }
}
