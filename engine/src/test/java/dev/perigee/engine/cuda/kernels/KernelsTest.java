package dev.perigee.engine.cuda.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.engine.cuda.driver.Cuda;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

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

  /** Kernels whose products must be Hopper's own, by file. */
  private static final Map<String, List<String>> WGMMA =
      Map.of(
          "grouped_gemm",
          List.of(
              "grouped_gemm_forward",
              "grouped_gemm_swiglu",
              "grouped_gemm_input_gradient",
              "grouped_gemm_weight_gradient",
              "grouped_gemm_weight_gradient_transposed",
              "grouped_gemm_weight_gradient_float32"),
          "grouped_swiglu_gradient",
          List.of("grouped_swiglu_gradient", "grouped_swiglu_gradient_pair"),
          "newton_schulz",
          List.of(
              "newton_schulz_symmetric_wide",
              "newton_schulz_symmetric_tall",
              "newton_schulz_symmetric_wide_two",
              "newton_schulz_symmetric_tall_two",
              "newton_schulz_product_wide",
              "newton_schulz_product_tall"),
          "narrow_router",
          List.of("narrow_router_forward"),
          "mla_prefill",
          List.of("mla_prefill_forward", "mla_prefill_dkv", "mla_prefill_dq"),
          "mla_decode",
          List.of("mla_decode"),
          "linear_cross_entropy",
          List.of("cross_entropy_logits"));

  @Test
  void matrixKernelsMultiplyWithWgmmaAndNoKernelKeepsAnythingInLocalMemory(@TempDir Path folder)
      throws IOException, InterruptedException {
    assumeTrue(Cuda.kernels("grouped_gemm").isPresent(), "this build has no CUDA kernels");
    for (Map.Entry<String, List<String>> file : WGMMA.entrySet()) {
      Map<String, String> functions = disassembled(folder, file.getKey());
      for (String kernel : file.getValue()) {
        assertThat(functions).as(file.getKey()).containsKey(kernel);
        assertThat(functions.get(kernel))
            .as("machine code of %s", kernel)
            .contains("HGMMA")
            .contains("UTMALDG") // its operands come through the copy engine
            .doesNotContain("LDL")
            .doesNotContain("STL");
      }
    }
  }

  /** The machine code of each kernel of a file; skips the test where there is no disassembler. */
  private static Map<String, String> disassembled(Path folder, String name)
      throws IOException, InterruptedException {
    Path code = Files.write(folder.resolve(name + ".fatbin"), Cuda.kernels(name).orElseThrow());
    Process process;
    try {
      process = new ProcessBuilder("cuobjdump", "--dump-sass", code.toString()).start();
    } catch (IOException e) {
      return Assumptions.abort("this machine has no cuobjdump: " + e.getMessage());
    }
    String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor()).as("cuobjdump %s", name).isZero();
    Map<String, String> functions = new HashMap<>();
    for (String part : text.split("Function : ", -1)) {
      functions.put(part.lines().findFirst().orElse("").strip(), part);
    }
    return functions;
  }
}
