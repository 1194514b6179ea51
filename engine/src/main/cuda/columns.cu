// Copies between a matrix and two others that hold its left and its right columns.

extern "C" __global__ void __launch_bounds__(256)
    columns_split(const float* x, float* left, float* right, int rows, int a, int b) {
  const long n = (long)rows * (a + b);
  for (long i = blockIdx.x * 256l + threadIdx.x; i < n; i += gridDim.x * 256l) {
    const long row = i / (a + b);
    const int column = i % (a + b);
    if (column < a) {
      left[row * a + column] = x[i];
    } else {
      right[row * b + column - a] = x[i];
    }
  }
}

extern "C" __global__ void __launch_bounds__(256)
    columns_join(const float* left, const float* right, float* x, int rows, int a, int b) {
  const long n = (long)rows * (a + b);
  for (long i = blockIdx.x * 256l + threadIdx.x; i < n; i += gridDim.x * 256l) {
    const long row = i / (a + b);
    const int column = i % (a + b);
    x[i] = column < a ? left[row * a + column] : right[row * b + column - a];
  }
}
