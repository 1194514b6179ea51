package dev.perigee.engine.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Optional;
import java.util.Random;

/** A GPU for a test; without one the test is skipped and says why. */
final class Gpu implements AutoCloseable {
  final Device device;
  final DeviceArena arena;
  final Stream stream;

  Gpu() {
    Optional<String> why = Cuda.whyAbsent();
    assumeTrue(why.isEmpty(), () -> why.orElse(""));
    device = Device.open(0);
    arena = device.arena();
    stream = device.compute();
  }

  /** Normal numbers that bf16 holds exactly. */
  static float[] normal(Random random, int n) {
    float[] x = new float[n];
    for (int i = 0; i < n; i++) {
      x[i] = Bfloat16.toFloat(Bfloat16.of((float) random.nextGaussian()));
    }
    return x;
  }

  /** The numbers as bf16 on the device. */
  DeviceBuffer bf16(float[] x) {
    ByteBuffer host = arena.pinned(2L * x.length);
    for (float v : x) {
      host.putShort(Bfloat16.of(v));
    }
    return uploaded(host.flip());
  }

  /** The numbers as float32 on the device. */
  DeviceBuffer floats(float[] x) {
    ByteBuffer host = arena.pinned(4L * x.length);
    for (float v : x) {
      host.putFloat(v);
    }
    return uploaded(host.flip());
  }

  /** The numbers as 32-bit integers on the device. */
  DeviceBuffer ints(int... x) {
    ByteBuffer host = arena.pinned(4L * x.length);
    for (int v : x) {
      host.putInt(v);
    }
    return uploaded(host.flip());
  }

  private DeviceBuffer uploaded(ByteBuffer host) {
    DeviceBuffer b = arena.allocate(host.remaining());
    stream.upload(host, b);
    return b;
  }

  /** Memory full of NaN: a result that was not written shows. */
  DeviceBuffer poisoned(long bytes) {
    DeviceBuffer b = arena.allocate(bytes);
    stream.fill(b, (byte) 0xFF);
    return b;
  }

  /** The arena with memory full of NaN: what is read before it was written shows. */
  DeviceMemory poisoned() {
    return new DeviceMemory() {
      @Override
      public DeviceBuffer allocate(long bytes) {
        return Gpu.this.poisoned(bytes);
      }

      @Override
      public void free(DeviceBuffer buffer) {
        arena.free(buffer);
      }

      @Override
      public ByteBuffer pinned(long bytes) {
        return arena.pinned(bytes);
      }
    };
  }

  /** bf16 numbers from the device. */
  float[] fromBf16(DeviceBuffer b) {
    ByteBuffer host = bytes(b);
    float[] x = new float[(int) (b.bytes() / 2)];
    for (int i = 0; i < x.length; i++) {
      x[i] = Bfloat16.toFloat(host.getShort());
    }
    return x;
  }

  /** float32 numbers from the device. */
  float[] fromFloats(DeviceBuffer b) {
    float[] x = new float[(int) (b.bytes() / 4)];
    bytes(b).asFloatBuffer().get(x);
    return x;
  }

  /** 32-bit integers from the device. */
  int[] fromInts(DeviceBuffer b) {
    int[] x = new int[(int) (b.bytes() / 4)];
    bytes(b).asIntBuffer().get(x);
    return x;
  }

  private ByteBuffer bytes(DeviceBuffer b) {
    ByteBuffer host = ByteBuffer.allocateDirect((int) b.bytes()).order(ByteOrder.nativeOrder());
    stream.download(b, host);
    stream.synchronize();
    return host;
  }

  /** Asserts ‖x − y‖ / ‖y‖ over the first {@code y.length} numbers; NaN fails. */
  static void assertClose(String what, float[] x, double[] y, double tolerance) {
    double difference = 0;
    double norm = 0;
    for (int i = 0; i < y.length; i++) {
      difference += (x[i] - y[i]) * (x[i] - y[i]);
      norm += y[i] * y[i];
    }
    double error = norm == 0 ? Math.sqrt(difference) : Math.sqrt(difference / norm);
    assertThat(error).as("relative error of %s", what).isLessThan(tolerance);
  }

  /** Asserts that the numbers from {@code first} on are still poison. */
  static void assertUntouched(String what, float[] x, int first) {
    for (int i = first; i < x.length; i++) {
      assertThat(x[i]).as("%s[%d], which nothing may write", what, i).isNaN();
    }
  }

  @Override
  public void close() {
    arena.close();
    device.close();
  }
}
