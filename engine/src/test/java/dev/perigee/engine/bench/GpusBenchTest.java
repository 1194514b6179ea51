package dev.perigee.engine.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.bench.GangWork.Collective;
import dev.perigee.engine.bench.GangWork.Done;
import dev.perigee.engine.bench.GpusBench.Outcome;
import dev.perigee.engine.bench.GpusBench.Step;
import dev.perigee.plan.Timeline;
import dev.perigee.plan.Timeline.Lane;
import dev.perigee.run.ExitCode;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The benchmark of several GPUs, on the CPU. */
class GpusBenchTest {
  private static final GangShape TINY =
      new GangShape(
          0,
          new Mesh(2, 2, 2, 4),
          new Mesh(1, 2, 2, 2),
          new ModelConfig(
              48, 32, 64, 24, 3, 1, 2, 24, 16, 8, 4, 8, 8, 2, 1, 1, 1, 1.4, true, 10_000, null, 256,
              1e-6, 0.02, false),
          "3 layers, 32 wide",
          RunConfig.Compute.Precision.fp32,
          32,
          8,
          2,
          List.of(1L, 1000L),
          1);

  @TempDir Path folder;

  /** Threads and processes, training, a killed process and a checkpoint: all of it is real. */
  @Test
  void everyPartHoldsOnTheCpu() throws Exception {
    Outcome outcome = new GpusBench(TINY, folder).run();
    for (List<Collective> all : List.of(outcome.threads(), outcome.processes())) {
      assertThat(all).hasSize(2 * 7 + 1).allMatch(Collective::right);
    }
    List<Double> one = outcome.one().losses();
    assertThat(one).hasSize(4);
    for (Done run :
        List.of(outcome.parallel(), outcome.apart(), outcome.split(), outcome.stages())) {
      assertThat(GpusReport.difference(run.losses(), one, 0)).isLessThan(1e-5);
    }
    assertThat(outcome.resumed().losses()).hasSize(2);
    assertThat(GpusReport.difference(outcome.resumed().losses(), one, 2)).isLessThan(1e-5);
    assertThat(outcome.withOverlap().measured().tracks().get(1).computed())
        .isEqualTo(outcome.withOverlap().predicted().tracks().get(1).computed());
    assertThat(outcome.withOverlap().measured().busy(Lane.EXPERTS)).isPositive();
    assertThat(outcome.without().measured().busy(Lane.EXPERTS)).isZero();
    assertThat(outcome.lost().exitCodes()).hasSize(3).containsOnly(ExitCode.LOST_PEER.code());
    assertThat(outcome.lost().seconds()).isLessThan(10);

    String page = new GpusReport(TINY, outcome, "gpus").page();
    assertThat(page)
        .contains("| all-to-all, uneven and empty | 1,000 | yes, yes |")
        .contains("PyTorch's columns are empty: NCCL needs a GPU for each rank")
        .contains("with the exit codes [69, 69, 69] (LOST_PEER: 69). Left on the GPUs")
        .doesNotContain("NO", "TOO MUCH", "WRONG");
  }

  private static Done losses(double... losses) {
    List<Double> all = java.util.Arrays.stream(losses).boxed().toList();
    return new Done("over NCCL 2.27.3", List.of(), all, List.of(1.0, 0.5), null, 3);
  }

  @Test
  void thePageSaysWhereAResultIsNotWhatItShouldBe() {
    Step step = new Step(new Timeline(List.of()), new Timeline(List.of()), 0);
    Done one = losses(4, 3);
    Outcome outcome =
        new Outcome(
            List.of(new Collective("all-gather", 1 << 28, true, 0.004)),
            List.of(new Collective("all-gather", 1 << 28, false, 0.008)),
            List.of(new TorchNccl.Timed("all-gather", 1 << 28, 0.0039)),
            "",
            one,
            losses(4, 3.001),
            losses(4, 3.2),
            losses(4, Double.NaN),
            losses(4, 3),
            losses(3.001),
            step,
            step,
            new GangLauncher.Ended(List.of(69, 1, 69), 3, List.of(7L, 8L)),
            Optional.of(List.of(8L)));
    GangShape four = GangShape.of(4);
    GangShape shape =
        new GangShape(
            4,
            four.mesh(),
            four.smaller(),
            four.model(),
            "a model",
            four.precision(),
            8,
            4,
            1,
            four.sizes(),
            5);
    String page = new GpusReport(shape, outcome, "gpus-8").page();
    assertThat(page)
        .contains("| all-gather | 268,435,456 | yes, NO | 268.44 GB/s | 134.22 GB/s | 275.32 GB/s")
        .contains("| 0.98 |\n")
        .contains("threads, experts overlap | 2 | 4.0000, 3.0010 | 3.3e-04 | 64 | 1.00 |")
        .contains("6.7e-02, TOO MUCH")
        .contains("NaN, TOO MUCH")
        .contains("[69, 1, 69] (LOST_PEER: 69), WRONG. Left on the GPUs: processes [8].")
        .contains("never interrupted 0.0e+00");
  }

  @Test
  void theSlowestRankCountsAndEveryRankMustBeRight() {
    List<Done> ranks =
        List.of(
            new Done("", List.of(new Collective("x", 8, true, 1)), null, null, null, 0),
            new Done("", List.of(new Collective("x", 8, false, 3)), null, null, null, 0));
    assertThat(GpusBench.slowest(ranks)).containsExactly(new Collective("x", 8, false, 3));
  }

  @Test
  void whatPyTorchSaysIsRead() throws IOException {
    TorchNccl torch =
        TorchNccl.parse(
            """
            {"torch": "2.11.0", "nccl": "2.28.9"}
            {"name": "all-to-all", "elements": 1024, "seconds": 2e-05}
            """);
    assertThat(torch.version()).isEqualTo("PyTorch 2.11.0, NCCL 2.28.9");
    assertThat(torch.timed()).containsExactly(new TorchNccl.Timed("all-to-all", 1024, 2e-5));
  }

  @Test
  void layoutsFitTheNumberOfGpusAndOthersAreRefused() {
    for (int gpus : new int[] {0, 1, 2, 4, 8}) {
      GangShape shape = GangShape.of(gpus);
      assertThat(shape.mesh().world()).isEqualTo(gpus < 2 ? 4 : gpus);
      assertThat(shape.run(shape.mesh(), shape.mesh().expert() > 1).problems()).isEmpty();
      assertThat(shape.run(shape.smaller(), shape.smaller().expert() > 1).problems()).isEmpty();
      assertThat(shape.run(Mesh.SINGLE, false).problems()).isEmpty();
    }
    assertThatThrownBy(() -> GangShape.of(3)).hasMessageContaining("1, 2, 4 or 8, not 3");
  }
}
