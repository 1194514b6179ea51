package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.tensor.Tensor;

/** What the backend's operations are put together with: one queue, and memory for it. */
final class Work {
  private final Queue queue;
  private final Staging staging;
  private final Product product;
  private final Precision precision;

  /** Memory inside an operation; one stream runs operations in order, so that each may reuse it. */
  private final Arena scratch;

  Work(Queue queue, Staging staging, TensorMemory memory, Product product, Precision precision) {
    this.queue = queue;
    this.staging = staging;
    this.product = product;
    this.precision = precision;
    this.scratch = new Arena(memory::allocate);
  }

  /** Opens a scope for scratch memory. */
  Arena.Scope open() {
    return scratch.open();
  }

  /** Scratch memory for float32 numbers, which holds anything. */
  DeviceBuffer floats(long count) {
    return TensorMemory.of(scratch.take(Math.toIntExact(count)));
  }

  /** Scratch memory for bf16 numbers. */
  DeviceBuffer bf16(long count) {
    return floats((count + 1) / 2).slice(0, 2 * count);
  }

  /** Scratch memory for float64 numbers. */
  DeviceBuffer doubles(long count) {
    return floats(2 * count);
  }

  /** Queues a launch, unless it is over nothing. */
  void launch(Launch l) {
    if (l.grid().x() > 0 && l.grid().y() > 0 && l.grid().z() > 0) {
      queue.launch(l);
    }
  }

  /** The queue itself. */
  Queue queue() {
    return queue;
  }

  /** The way to the host and back. */
  Staging staging() {
    return staging;
  }

  /** What products multiply. */
  Precision precision() {
    return precision;
  }

  /** The numbers as products multiply them, rounded into scratch memory if need be. */
  Product.Operand operand(DeviceBuffer floats, int rowStride, long stride) {
    if (precision == Precision.FP32) {
      return new Product.Operand(floats.address(), false, rowStride, stride);
    }
    return new Product.Operand(rounded(floats).address(), true, rowStride, stride);
  }

  /** A bf16 copy in scratch memory. */
  DeviceBuffer rounded(DeviceBuffer floats) {
    DeviceBuffer bf16 = bf16(floats.bytes() / 4);
    launch(FloatKernels.toBf16(floats, bf16));
    return bf16;
  }

  /** Float32 results of a product. */
  static Product.Operand result(DeviceBuffer floats, int rowStride, long stride) {
    return new Product.Operand(floats.address(), false, rowStride, stride);
  }

  /** Multiplies, unless there is nothing to write. */
  void multiply(
      Product.Sizes s,
      float alpha,
      Product.Operand a,
      Product.Operand b,
      float beta,
      Product.Operand c) {
    if (s.m() > 0 && s.n() > 0 && s.count() > 0) {
      product.multiply(s, alpha, a, b, beta, c);
    }
  }

  /** Where a tensor's numbers are. */
  static DeviceBuffer at(Tensor x) {
    return TensorMemory.of(x);
  }
}
