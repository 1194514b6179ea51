package dev.perigee.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.plan.ChromeTrace;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.api.parallel.ResourceLock;
import org.junit.jupiter.api.parallel.Resources;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What {@code ./perigee plan} says. */
@ResourceLock(Resources.SYSTEM_ERR)
class PlanCommandTest {
  private static final String QUICKSTART = example("quickstart.yaml");
  private static final String KIMI_K2 = example("plans/kimi-k2.yaml");

  private static final String SPARES =
      "  steps: 1000\n  scheduling: {adapter: None}\n  failurePolicy: {restart: InPlace, spares: 2}\n";

  @TempDir Path folder;

  private record Result(int code, String out, String err) {}

  private static String example(String name) {
    return Checkout.root().resolve("examples").resolve(name).toString();
  }

  private static Result plan(String... args) {
    PrintStream out = System.out;
    PrintStream err = System.err;
    ByteArrayOutputStream said = new ByteArrayOutputStream();
    ByteArrayOutputStream complained = new ByteArrayOutputStream();
    System.setOut(new PrintStream(said, true, StandardCharsets.UTF_8));
    System.setErr(new PrintStream(complained, true, StandardCharsets.UTF_8));
    String[] all = new String[args.length + 1];
    all[0] = "plan";
    System.arraycopy(args, 0, all, 1, args.length);
    try {
      int code = Perigee.execute(all);
      return new Result(
          code, said.toString(StandardCharsets.UTF_8), complained.toString(StandardCharsets.UTF_8));
    } finally {
      System.setOut(out);
      System.setErr(err);
    }
  }

  @Test
  void kimiK2AsItsReportTrainsItFitsAndHidesItsExperts() throws IOException {
    Path trace = folder.resolve("step.json");

    Result result = plan(KIMI_K2, "--trace", trace.toString());

    assertThat(result.err()).isEmpty();
    assertThat(result.code()).isZero();
    assertThat(result.out())
        .contains("(1,026,408,232,448)", "256 ranks in 32 pods", "hardware    H800, bf16")
        .contains("parameters and gradients 28.9 GB", "fits into 85.5 GB")
        .containsPattern("9\\d\\.\\d % hidden in steady state")
        .contains("step.json.svg: the first 64 of 1024 micro-batches");
    assertThat(ChromeTrace.read(trace).tracks()).hasSize(16);
    assertThat(folder.resolve("step.json.svg")).content().startsWith("<svg");
  }

  @Test
  void aPlanForACpuSaysWhatItDoesNotKnow() {
    Result result = plan(QUICKSTART);

    assertThat(result.code()).isZero();
    assertThat(result.out())
        .startsWith("quickstart\nmodel ")
        .contains("hardware    CPU, float32")
        .contains("step        unknown: the speed of the ranks is not known")
        .containsPattern("checkpoint  .* to write\n$");
  }

  /** Dynamic resource allocation asks for devices elsewhere, and the memory limit is the host's. */
  @Test
  void aJobThatComputesOnGpusIsPlannedForThemHoweverItGetsThem() throws IOException {
    Path file =
        Files.writeString(
            folder.resolve("cuda.yaml"),
            Files.readString(Path.of(QUICKSTART))
                .replace("preset: quickstart", "preset: moonlight-16b-a3b")
                .replace(
                    "  resources:\n    requests:\n      cpu:",
                    "  compute: {backend: cuda}\n"
                        + "  resources:\n    limits: {memory: 32Gi}\n    requests:\n      cpu:"));

    Result result = plan(file.toString());

    assertThat(result.err()).isEmpty();
    assertThat(result.out()).contains("hardware    GPUs of an unknown kind, bf16");
  }

  @Test
  void aJobInFullPrecisionIsPlannedInItOnAnyGpu() throws IOException {
    Path file =
        Files.writeString(
            folder.resolve("fp32.yaml"),
            Files.readString(Path.of(QUICKSTART))
                .replace(
                    "  resources:\n    requests:\n      cpu:",
                    "  compute: {backend: cuda, precision: fp32}\n"
                        + "  resources:\n    requests:\n      cpu:"));

    assertThat(plan(file.toString()).out())
        .contains("hardware    GPUs of an unknown kind, float32 (name one");
    Result result = plan(file.toString(), "--gpu", "H100", "--network", "25", "--json");
    JsonNode json = Json.MAPPER.readTree(result.out());
    assertThat(json.at("/plan/hardware").asText()).startsWith("H100, float32, ");
    assertThat(json.at("/plan/fullest/parameters").asLong())
        .isGreaterThanOrEqualTo(json.at("/plan/fullest/gradients").asLong())
        .isPositive();
    assertThat(json.at("/plan/timing/seconds").isObject()).isFalse();
  }

  @ParameterizedTest
  @ValueSource(strings = {"2GB", "2gi", "' 2Gi'", "-1Gi", "lots"})
  void anAmountThatIsNoneIsNamed(String amount) throws IOException {
    Result result = plan(withMemoryLimit(amount));

    assertThat(result.code()).isEqualTo(1);
    assertThat(result.err())
        .startsWith(
            "perigee: quickstart cannot work:\n  resources.limits.memory: "
                + amount.replace("'", "")
                + " is not an amount; expected")
        .hasLineCount(2);
  }

  @ParameterizedTest
  @CsvSource({"1.5Gi, 805 MB", "1e9, 500 MB", "100Ei, 4.61 EB", "2000000000000m, 1 GB"})
  void anAmountIsReadAsAPodsIs(String amount, String ofARank) throws IOException {
    assertThat(plan(withMemoryLimit(amount)).out())
        .contains("hardware    CPU, float32, " + ofARank + "\n");
  }

  private String withMemoryLimit(String amount) throws IOException {
    String limits = "  resources:\n    limits: {memory: " + amount + "}\n";
    return Files.writeString(
            folder.resolve("limit.yaml"),
            Files.readString(Path.of(QUICKSTART))
                .replace(
                    "  resources:\n    requests:\n      cpu:",
                    limits + "    requests:\n      cpu:"))
        .toString();
  }

  @Test
  void theLayoutOfTheManifestIsSearchedToo() throws IOException {
    Result result = plan(KIMI_K2, "--search", "256", "--json");

    JsonNode json = Json.MAPPER.readTree(result.out());
    assertThat(json.at("/search/0/timing/seconds/pipeline").asDouble())
        .isLessThanOrEqualTo(json.at("/plan/timing/seconds/pipeline").asDouble());
  }

  @Test
  void sparesAreCountedBesideTheGang() throws IOException {
    Path file =
        Files.writeString(
            folder.resolve("spares.yaml"),
            Files.readString(Path.of(QUICKSTART)).replace("  steps: 1000\n", SPARES));

    Result result = plan(file.toString());

    assertThat(result.err()).isEmpty();
    assertThat(result.out()).contains("spares      2 beside these pods");
    assertThat(plan(QUICKSTART).out()).doesNotContain("spares");
  }

  @Test
  void aPlanIsAlsoJson() throws IOException {
    Result result = plan(QUICKSTART, "--gpu", "H100", "--search", "4", "--json");

    JsonNode json = Json.MAPPER.readTree(result.out());
    assertThat(json.path("job").asText()).isEqualTo("quickstart");
    assertThat(json.at("/plan/timing/seconds/modelFlopsUtilization").asDouble()).isPositive();
    assertThat(json.at("/plan/fullest/parameters").asLong()).isPositive();
    assertThat(json.path("search")).isNotEmpty();
  }

  @Test
  void measuredFiguresGoBeforeComputedOnes() throws IOException {
    Path figures = folder.resolve("figures.json");
    Files.writeString(figures, "{\"forwardSeconds\": 2, \"backwardSeconds\": 3}");

    Result result = plan(QUICKSTART, "--calibrate", figures.toString(), "--json");

    int microBatches = Json.MAPPER.readTree(result.out()).at("/plan/microBatches").asInt();
    assertThat(Json.MAPPER.readTree(result.out()).at("/plan/timing/seconds/pipeline").asDouble())
        .isCloseTo(5.0 * microBatches, within(1e-6));
  }

  @Test
  void aSimulatedStepCalibratesAsARecordedOneDoes() throws IOException {
    Path trace = folder.resolve("step.json");
    plan(KIMI_K2, "--trace", trace.toString());

    Result again = plan(KIMI_K2, "--calibrate", trace.toString(), "--json");
    Result before = plan(KIMI_K2, "--json");

    double step = Json.MAPPER.readTree(before.out()).at("/plan/timing/seconds/pipeline").asDouble();
    assertThat(Json.MAPPER.readTree(again.out()).at("/plan/timing/seconds/pipeline").asDouble())
        .isCloseTo(step, within(0.02 * step));
  }

  @Test
  void activationsThatDoNotFitAreSaidWithLayoutsThatDo() throws IOException {
    String kept =
        Files.readString(Path.of(KIMI_K2))
            .replace("    offload: true\n", "")
            .replace("    recompute: [norms, swiGlu, latentProjections, expertDown]\n", "");
    Path file = Files.writeString(folder.resolve("kept.yaml"), kept);

    Result result = plan(file.toString());

    assertThat(result.code()).isEqualTo(1);
    assertThat(result.out()).contains("does NOT fit into 85.5 GB");
    assertThat(result.err())
        .startsWith("perigee: kimi-k2: by this plan a rank of stage ")
        .containsPattern("layouts? of 256 ranks");
  }

  @Test
  void weightsThatDoNotFitAreRefusedWithThreeLayoutsThatDo() throws IOException {
    String small =
        Files.readString(Path.of(KIMI_K2))
            .replace("    data: 16\n", "    data: 8\n")
            .replace("    expert: 16\n", "    expert: 8\n");
    Path file = Files.writeString(folder.resolve("small.yaml"), small);

    Result result = plan(file.toString());

    assertThat(result.code()).isEqualTo(1);
    assertThat(result.err())
        .startsWith("perigee: kimi-k2 cannot work:\n  parallelism: weights, gradients and")
        .contains("the nearest layouts that work: pipeline ")
        .hasLineCount(3);
  }

  @ParameterizedTest
  @CsvSource({
    "--gpu, RTX, --gpu: RTX is not known; expected one of A100",
    "--network, 1, --node-link and --network are for GPUs",
    "--search, 0, --search: 0 ranks; expected 1 or more",
    "--calibrate, none.json, --calibrate: there is no file none.json",
    "--calibrate, ., --calibrate: . is a folder; expected a file of JSON",
    "--trace, ., --trace: . is a folder; expected a file to write",
    "--trace, /, --trace: / is a folder; expected a file to write",
    "--trace, /none/step.json, --trace: there is no folder /none for /none/step.json"
  })
  void anOptionThatMakesNoSenseIsOneClearLine(String option, String value, String message) {
    Result result = plan(QUICKSTART, option, value);

    assertThat(result.code()).isEqualTo(2);
    assertThat(result.out()).isEmpty();
    assertThat(result.err()).startsWith("perigee: " + message).hasLineCount(1);
  }

  @Test
  void aLinkWithoutSpeedIsRefused() {
    Result result = plan(KIMI_K2, "--network", "0");

    assertThat(result.code()).isEqualTo(2);
    assertThat(result.err()).isEqualTo("perigee: --network: 0.0 GB/s; expected more than 0\n");
  }

  @Test
  void aNumberOfRanksWithoutALayoutIsSaidToHaveNone() {
    Result result = plan(QUICKSTART, "--search", "7");

    assertThat(result.code()).isEqualTo(1);
    assertThat(result.err()).startsWith("perigee: --search: no layout of 7 ranks works");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{\"speed\": 3} | Unrecognized field \"speed\", not marked as ignorable",
        "{\"denseShare\": 2} | calibration.denseShare: 2.0; expected a share in (0, 1]",
        "{\"forwardSeconds\": 1} | give forwardSeconds and backwardSeconds together",
        "{\"networkBytesPerSecond\": 0} | calibration.networkBytesPerSecond: 0.0; expected a number above 0",
        "{\"traceEvents\": []} | no complete events"
      })
  void figuresThatAreNoneAreRefused(String json, String message) throws IOException {
    Path file = Files.writeString(folder.resolve("figures.json"), json);

    Result result = plan(QUICKSTART, "--calibrate", file.toString());

    assertThat(result.code()).isEqualTo(2);
    assertThat(result.err()).startsWith("perigee: --calibrate: ").contains(message).hasLineCount(1);
  }

  @Test
  void aFileOfFiguresThatIsNoTextIsRefusedByName() throws IOException {
    Path file = Files.write(folder.resolve("figures.json"), new byte[] {(byte) 0xff, (byte) 0xfe});

    assertThat(plan(QUICKSTART, "--calibrate", file.toString()).err())
        .isEqualTo(
            "perigee: --calibrate: " + file + " is not UTF-8; expected JSON, see docs/plan.md\n");
  }

  @Test
  void whatIsNoJobIsNamed() throws IOException {
    Path file =
        Files.writeString(
            folder.resolve("cm.yaml"), "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}");

    assertThat(plan(file.toString()).err())
        .startsWith("perigee: no PretrainJob in ")
        .contains("found ConfigMap");
    assertThat(plan(file.toString()).code()).isEqualTo(2);
    assertThat(plan(folder.resolve("gone.yaml").toString()).err()).contains("is not a file");
  }
}
