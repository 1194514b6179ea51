package dev.perigee.engine.cuda.driver;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemorySegment;
import java.util.Optional;

/**
 * Whether this machine and this build can compute on a GPU. The question is answered without JCuda,
 * so a machine without a driver never loads it.
 */
public final class Cuda {
  private static final String KERNELS = "/dev/perigee/engine/cuda/";

  private Cuda() {}

  /** Why there is no GPU to use, in one line; empty when there is one. */
  public static Optional<String> whyAbsent() {
    Optional<DriverLibrary> driver = DriverLibrary.load();
    if (driver.isEmpty()) {
      return Optional.of(
          "no GPU: " + DriverLibrary.NAME + " (the NVIDIA driver) is not on this machine");
    }
    int rc = init(driver.get());
    if (rc != 0) {
      return Optional.of("no GPU: the NVIDIA driver answers cuInit with error " + rc);
    }
    if (count(driver.get()) == 0) {
      return Optional.of("no GPU: the NVIDIA driver sees no device");
    }
    if (kernels("grouped_gemm").isEmpty()) {
      return Optional.of(
          "no GPU: this build has no CUDA kernels, because it found no nvcc; install the CUDA"
              + " toolkit 12.8 or newer and build again");
    }
    return Optional.empty();
  }

  /** GPUs that this process sees; 0 without a driver. */
  public static int count() {
    return DriverLibrary.load().map(driver -> init(driver) == 0 ? count(driver) : 0).orElse(0);
  }

  private static int init(DriverLibrary driver) {
    try {
      return (int)
          driver
              .function("cuInit", FunctionDescriptor.of(JAVA_INT, JAVA_INT))
              .invokeExact(/* flags */ 0);
    } catch (Throwable e) {
      throw new LinkageError("cuInit", e);
    }
  }

  private static int count(DriverLibrary driver) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment count = arena.allocate(JAVA_INT);
      int rc =
          (int)
              driver
                  .function("cuDeviceGetCount", FunctionDescriptor.of(JAVA_INT, ADDRESS))
                  .invokeExact(count);
      return rc == 0 ? count.get(JAVA_INT, 0) : 0;
    } catch (Throwable e) {
      throw new LinkageError("cuDeviceGetCount", e);
    }
  }

  /** The machine code of {@code src/main/cuda/<name>.cu} if this build has it. */
  public static Optional<byte[]> kernels(String name) {
    try (InputStream in = Cuda.class.getResourceAsStream(KERNELS + name + ".fatbin")) {
      return in == null ? Optional.empty() : Optional.of(in.readAllBytes());
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read the kernels of " + name, e);
    }
  }
}
