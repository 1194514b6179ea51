package dev.perigee.engine.cuda.driver;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.engine.bench.GpuBench;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** A machine without a GPU loses nothing but the GPU. */
class NoDriverTest {
  @Test
  void withoutADriverTheBenchmarkSaysSoInOneLineAndLoadsNothingOfJCuda() throws Exception {
    assumeTrue(DriverLibrary.load().isEmpty(), "this machine has a driver");
    Process p =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-Xshare:auto",
                "-XX:TieredStopAtLevel=1",
                "-Xlog:class+load:stdout",
                "-cp",
                System.getProperty("java.class.path"),
                GpuBench.class.getName())
            .start();
    String loaded = text(p.getInputStream());
    String said = text(p.getErrorStream());
    assertThat(p.waitFor()).isEqualTo(1);
    assertThat(said.lines())
        .containsExactly(
            "bench gpu: no GPU: libcuda.so.1 (the NVIDIA driver) is not on this machine");
    assertThat(loaded).contains(Cuda.class.getName()).doesNotContain(" jcuda.");
  }

  private static String text(InputStream in) throws IOException {
    return new String(in.readAllBytes(), StandardCharsets.UTF_8);
  }
}
