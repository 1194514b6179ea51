package dev.perigee.engine.cuda.driver;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.cuda.kernels.RandomNormal;
import java.util.List;
import org.junit.jupiter.api.Test;

/** On a GPU: the driver layer itself. */
class DeviceGpuTest {
  @Test
  void normalNumbersDependOnSeedAndIndexAlone() {
    try (Gpu gpu = new Gpu()) {
      int n = 1_000_001; // odd: the last has no partner
      DeviceBuffer a = gpu.poisoned(2L * n);
      DeviceBuffer b = gpu.poisoned(2L * n);
      gpu.stream.launch(RandomNormal.fill(a, 5, 2));
      gpu.stream.launch(RandomNormal.fill(b, 5, 2));
      float[] x = gpu.fromBf16(a);
      assertThat(gpu.fromBf16(b)).isEqualTo(x);
      gpu.stream.launch(RandomNormal.fill(b, 6, 2));
      assertThat(gpu.fromBf16(b)).isNotEqualTo(x);
      double mean = 0;
      double square = 0;
      double neighbours = 0;
      for (int i = 0; i < n; i++) {
        mean += x[i] / n;
        square += (double) x[i] * x[i] / n;
        neighbours += i == 0 ? 0 : (double) x[i] * x[i - 1] / n;
      }
      assertThat(mean).isBetween(-0.01, 0.01);
      assertThat(square).isBetween(3.96, 4.04);
      assertThat(neighbours).isBetween(-0.02, 0.02);
    }
  }

  @Test
  void oneStreamWaitsForAnotherAndACapturedGraphRunsAgain() {
    try (Gpu gpu = new Gpu()) {
      DeviceBuffer a = gpu.poisoned(1 << 26);
      DeviceBuffer b = gpu.poisoned(1 << 26);
      DeviceBuffer expected = gpu.poisoned(1 << 26);
      gpu.stream.launch(RandomNormal.fill(expected, 9, 1));
      gpu.stream.launch(RandomNormal.fill(a, 9, 1));
      Stream other = gpu.device.offload();
      try (Stream.Graph graph =
          gpu.stream.capture(
              () -> {
                gpu.stream.launch(RandomNormal.fill(a, 9, 1));
                other.after(gpu.stream);
                other.copy(a, b);
                gpu.stream.after(other);
              })) {
        gpu.stream.fill(a, (byte) 0xFF);
        gpu.stream.replay(graph);
        assertThat(gpu.fromBf16(b)).isEqualTo(gpu.fromBf16(expected));
      }
    }
  }

  @Test
  void aFailedCallIsNamedWithItsSizes() {
    try (Gpu gpu = new Gpu()) {
      assertThatThrownBy(() -> gpu.arena.allocate(1L << 50))
          .isInstanceOf(CudaException.class)
          .hasMessageContaining("cuMemAlloc")
          .hasMessageContaining((1L << 50) + " bytes")
          .hasMessageContaining("CUDA_ERROR_OUT_OF_MEMORY");
      Launch tooWide =
          new Launch(
              "random",
              "random_normal",
              Launch.Dim.of(1),
              Launch.Dim.of(4096),
              0,
              List.of(
                  new Launch.Argument.Address(0),
                  new Launch.Argument.Int64(0),
                  Launch.integer(0),
                  Launch.real(0)),
              "no numbers");
      assertThatThrownBy(() -> gpu.stream.launch(tooWide))
          .hasMessageContaining("cuLaunchKernel")
          .hasMessageContaining("random_normal (no numbers)")
          .hasMessageContaining("block 4096x1x1");
    }
  }
}
