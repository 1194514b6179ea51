package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;

/**
 * What the backend's operations are put together with: one queue, memory for it, and the numbers of
 * tensors in the type that a kernel wants.
 */
final class Work {
  private final CudaBackend.Chip chip;
  private final Queue queue;
  private final Staging staging;
  private final Product product;
  private final Precision precision;

  /** Memory inside an operation; one stream runs operations in order, so that each may reuse it. */
  private final Arena scratch;

  Work(
      CudaBackend.Chip chip,
      Queue queue,
      Staging staging,
      TensorMemory memory,
      Product product,
      Precision precision) {
    this.chip = chip;
    this.queue = queue;
    this.staging = staging;
    this.product = product;
    this.precision = precision;
    this.scratch = new Arena(memory::floats);
  }

  /** Whether the kernels for Hopper's tensor cores may be used: their numbers are bf16. */
  boolean hopper() {
    return precision == Precision.BF16 && chip.hopper();
  }

  /** How many multiprocessors the chip has. */
  int multiprocessors() {
    return chip.multiprocessors();
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

  /** Scratch memory of so many bytes. */
  DeviceBuffer bytes(long bytes) {
    return floats((bytes + 3) / 4).slice(0, bytes);
  }

  /** Queues a launch, unless it is over nothing. */
  void launch(Launch l) {
    if (l.grid().x() > 0 && l.grid().y() > 0 && l.grid().z() > 0) {
      queue.launch(l);
    }
  }

  /** 0, 1, … n − 1 as int32, in scratch memory. */
  DeviceBuffer range(int n) {
    DeviceBuffer numbers = floats(n);
    launch(FloatKernels.range(numbers, n));
    return numbers;
  }

  /** Queues several. */
  void launch(List<Launch> launches) {
    launches.forEach(this::launch);
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

  /** Where a tensor's numbers are, of whatever type. */
  static DeviceBuffer at(Tensor x) {
    return TensorMemory.of(x);
  }

  /** Whether a tensor's numbers are bf16. */
  static boolean isBf16(Tensor x) {
    return x.storage().width() == 2;
  }

  /** Whether all of them are. */
  static boolean areBf16(Tensor... xs) {
    for (Tensor x : xs) {
      if (!isBf16(x)) {
        return false;
      }
    }
    return true;
  }

  /** Whether the kernels that move sixteen bytes at a time can take all of these as bf16. */
  boolean areWide(Tensor... xs) {
    if (!hopper() || !areBf16(xs)) {
      return false;
    }
    for (Tensor x : xs) {
      if (x.size() == 0 || x.dim(-1) % 8 != 0 || at(x).address() % 16 != 0) {
        return false;
      }
    }
    return true;
  }

  /** Where an operation writes a tensor's numbers, of whatever type. */
  static DeviceBuffer written(Tensor x) {
    TensorMemory.numbers(x).changed();
    return at(x);
  }

  /**
   * The numbers in bf16: where they are, in the copy that is kept of weights, or rounded into
   * scratch memory.
   */
  DeviceBuffer bf16(Tensor x) {
    TensorMemory.Numbers numbers = TensorMemory.numbers(x);
    if (numbers.width() == 2) {
      return at(x);
    }
    if (numbers.isRounded()) {
      return kept(numbers).slice(2L * x.offset(), 2L * x.size());
    }
    DeviceBuffer rounded = bf16(x.size());
    launch(FloatKernels.toBf16(at(x), rounded));
    return rounded;
  }

  /** The copy that is kept, of the numbers as they are now. */
  private DeviceBuffer kept(TensorMemory.Numbers numbers) {
    if (numbers.isStale()) {
      staging.needsHost("weights that change and are rounded again");
      numbers.refresh(queue);
    }
    return numbers.rounded();
  }

  /** The numbers in float32: where they are, or a copy in scratch memory. */
  DeviceBuffer floats(Tensor x) {
    if (!isBf16(x)) {
      return at(x);
    }
    DeviceBuffer copy = floats((long) x.size());
    launch(FloatKernels.fromBf16(at(x), copy));
    return copy;
  }

  /**
   * The operands of a kernel that knows float32 only; closing rounds its results to where they
   * belong and gives the memory between back.
   */
  final class Floats implements AutoCloseable {
    private record Result(DeviceBuffer floats, Tensor to) {}

    private final Arena.Scope scope = open();
    private final List<Result> results = new ArrayList<>();

    /** What the kernel reads. */
    DeviceBuffer of(Tensor x) {
      return floats(x);
    }

    /** What it writes in full. */
    DeviceBuffer result(Tensor y) {
      if (!isBf16(y)) {
        return written(y);
      }
      DeviceBuffer copy = floats((long) y.size());
      results.add(new Result(copy, y));
      return copy;
    }

    /** What it reads and writes. */
    DeviceBuffer changed(Tensor y) {
      if (!isBf16(y)) {
        return written(y);
      }
      DeviceBuffer copy = floats(y);
      results.add(new Result(copy, y));
      return copy;
    }

    @Override
    public void close() {
      for (Result r : results) {
        launch(FloatKernels.toBf16(r.floats, written(r.to)));
      }
      scope.close();
    }
  }

  /** Begins an operation of float32 kernels. */
  Floats inFloats() {
    return new Floats();
  }

  /** The operands of a kernel that knows bf16 only, where the copy engine can read them. */
  final class Bf16 implements AutoCloseable {
    private final Arena.Scope scope = open();
    private Runnable then = () -> {};

    /** What the kernel reads. */
    DeviceBuffer of(Tensor x) {
      DeviceBuffer numbers = bf16(x);
      if (numbers.address() % 16 == 0) {
        return numbers;
      }
      DeviceBuffer copy = bf16(x.size());
      queue.copy(numbers, copy);
      return copy;
    }

    /** What it writes in full. */
    DeviceBuffer result(Tensor y) {
      DeviceBuffer to = written(y);
      if (isBf16(y) && to.address() % 16 == 0) {
        return to;
      }
      DeviceBuffer copy = bf16(y.size());
      Runnable before = then;
      then =
          () -> {
            before.run();
            if (isBf16(y)) {
              queue.copy(copy, to);
            } else {
              launch(FloatKernels.fromBf16(copy, to));
            }
          };
      return copy;
    }

    @Override
    public void close() {
      then.run();
      scope.close();
    }
  }

  /** Begins an operation of bf16 kernels. */
  Bf16 inBf16() {
    return new Bf16();
  }

  /** A matrix as products multiply it, rounded into scratch memory if need be. */
  Product.Operand operand(Tensor x, int rowStride, long stride) {
    if (precision == Precision.FP32) {
      return new Product.Operand(floats(x).address(), false, rowStride, stride);
    }
    return new Product.Operand(bf16(x).address(), true, rowStride, stride);
  }

  /** The same of float32 numbers in scratch memory. */
  Product.Operand operand(DeviceBuffer floats, int rowStride, long stride) {
    if (precision == Precision.FP32) {
      return new Product.Operand(floats.address(), false, rowStride, stride);
    }
    DeviceBuffer rounded = bf16(floats.bytes() / 4);
    launch(FloatKernels.toBf16(floats, rounded));
    return new Product.Operand(rounded.address(), true, rowStride, stride);
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
}
