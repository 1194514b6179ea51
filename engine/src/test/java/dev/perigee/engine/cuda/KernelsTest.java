package dev.perigee.engine.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** What the compiler says of the kernels; skipped where the build found no nvcc. */
class KernelsTest {
  private static final Path LOGS = Path.of("target", "cuda");
  private static final Pattern SPILL = Pattern.compile("(\\d+) bytes spill stores, (\\d+) bytes");
  private static final Pattern ENTRY =
      Pattern.compile("Compiling entry function '(\\w+)' for 'sm_90a'");

  private static List<Path> logs() throws IOException {
    assumeTrue(
        Files.isDirectory(LOGS) && Cuda.kernels("grouped_gemm").isPresent(),
        "this build has no CUDA kernels: it found no nvcc");
    try (Stream<Path> files = Files.list(LOGS)) {
      return files.filter(f -> f.toString().endsWith(".ptxas.txt")).sorted().toList();
    }
  }

  private static String text(Path log) {
    try {
      return Files.readString(log);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Test
  void noKernelSpillsRegistersAndNoWgmmaIsSerialised() throws IOException {
    for (Path log : logs()) {
      String text = text(log);
      Matcher spill = SPILL.matcher(text);
      int kernels = 0;
      while (spill.find()) {
        kernels++;
        assertThat(spill.group(1) + spill.group(2)).as(log.toString()).isEqualTo("00");
      }
      assertThat(kernels).as("kernels in %s", log).isPositive();
      assertThat(text).as("C7510: wgmma that wait for each other").doesNotContain("serialized");
      assertThat(text).as("C7508: setmaxnreg without effect").doesNotContain("setmaxnreg");
    }
  }

  @Test
  void everySourceFileHasMachineCodeForHopperAndAReportOfIt() throws IOException {
    List<Path> logs = logs();
    try (Stream<Path> sources = Files.list(Path.of("src", "main", "cuda"))) {
      List<String> names =
          sources
              .map(p -> p.getFileName().toString())
              .filter(n -> n.endsWith(".cu"))
              .map(n -> n.substring(0, n.length() - 3))
              .sorted()
              .toList();
      assertThat(logs).hasSameSizeAs(names);
      for (String name : names) {
        assertThat(Cuda.kernels(name)).as(name).isPresent();
        assertThat(ENTRY.matcher(text(LOGS.resolve(name + ".ptxas.txt"))).find()).isTrue();
      }
    }
  }
}
