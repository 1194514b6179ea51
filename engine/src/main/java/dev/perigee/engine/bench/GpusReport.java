package dev.perigee.engine.bench;

import dev.perigee.engine.bench.GangWork.Collective;
import dev.perigee.engine.bench.GangWork.Done;
import dev.perigee.engine.bench.GpusBench.Outcome;
import dev.perigee.engine.bench.GpusBench.Step;
import dev.perigee.engine.cuda.driver.Cuda;
import dev.perigee.run.ExitCode;
import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/** The page of {@link GpusBench}. */
final class GpusReport {
  /** Of PyTorch's NCCL. */
  private static final double GOAL = 0.97;

  private static final double PEER_SECONDS = 10;

  private final GangShape shape;
  private final Outcome outcome;
  private final String traces;
  private final StringBuilder out = new StringBuilder();

  /** With what the names of the files of its timelines begin with. */
  GpusReport(GangShape shape, Outcome outcome, String traces) {
    this.shape = shape;
    this.outcome = outcome;
    this.traces = traces;
  }

  @SuppressWarnings("AnnotateFormatMethod") // every format is in this file
  private void line(String format, Object... arguments) {
    out.append(String.format(Locale.ROOT, format, arguments)).append('\n');
  }

  /** Largest relative difference of losses of two runs in a row of steps that bf16 explains. */
  static double tolerance(GangShape shape) {
    boolean rounded = shape.gpus() > 0 && shape.precision() == RunConfig.Compute.Precision.bf16;
    return rounded ? 1e-2 : 1e-4;
  }

  /** Largest relative difference between the losses and the part of {@code of} from a place on. */
  static double difference(List<Double> losses, List<Double> of, int from) {
    double largest = 0;
    for (int i = 0; i < losses.size(); i++) {
      double expected = of.get(from + i);
      double d = Math.abs(losses.get(i) - expected) / Math.abs(expected);
      largest = Double.isNaN(d) ? Double.NaN : Math.max(largest, d);
    }
    return largest;
  }

  String page() {
    line("# Several GPUs of one host");
    line("");
    line(
        "`./perigee bench gpus --gpus %d`, %s, %s, %d cores. Ranks: %d. Tensors of ranks travel %s.",
        shape.gpus(),
        LocalDate.now(ZoneOffset.UTC),
        shape.gpus() == 0 ? "on the CPU" : Cuda.count() + " GPUs seen",
        Runtime.getRuntime().availableProcessors(),
        shape.mesh().world(),
        outcome.parallel().way());
    if (shape.gpus() < shape.mesh().world()) {
      line("");
      line(
          "There %s for %d ranks, so nothing here says how fast several GPUs are: the figures show"
              + " that the program is right, and what needs a GPU for each rank is empty.",
          shape.gpus() == 1 ? "is one GPU" : "is no GPU", shape.mesh().world());
    }
    collectives();
    training();
    timelines();
    lost();
    resumed();
    return out.toString();
  }

  private void collectives() {
    line("");
    line("## Collectives");
    line("");
    line(
        "Every number of every result is compared with what the CPU computes; numbers are whole, so"
            + " sums are exact. Rates are bytes of a rank's tensor by the median time of the slowest"
            + " rank, over %d repeats that begin together. Goal beside PyTorch's: %.2f.",
        shape.repeats(), GOAL);
    line("");
    line(
        "| collective | elements | right: threads, processes | threads | processes | PyTorch |"
            + " threads / PyTorch |");
    line("|---|---|---|---|---|---|---|");
    for (int i = 0; i < outcome.threads().size(); i++) {
      Collective threads = outcome.threads().get(i);
      Collective processes = outcome.processes().get(i);
      Optional<TorchNccl.Timed> torch = TorchNccl.of(outcome.torch(), threads);
      line(
          "| %s | %,d | %s, %s | %s | %s | %s | %s |",
          threads.name(),
          threads.elements(),
          yes(threads.right()),
          yes(processes.right()),
          rate(threads),
          rate(processes),
          torch
              .map(t -> rate(new Collective(t.name(), t.elements(), true, t.seconds())))
              .orElse(""),
          torch
              .map(t -> String.format(Locale.ROOT, "%.2f", t.seconds() / threads.seconds()))
              .orElse(""));
    }
    if (!outcome.noTorch().isEmpty()) {
      line("");
      line("PyTorch's columns are empty: %s.", outcome.noTorch());
    }
  }

  private static String yes(boolean right) {
    return right ? "yes" : "NO";
  }

  private static String rate(Collective c) {
    if (c.seconds() == 0) {
      return "";
    }
    return c.elements() < 1 << 16
        ? String.format(Locale.ROOT, "%.0f µs", 1e6 * c.seconds())
        : String.format(Locale.ROOT, "%.2f GB/s", c.gigabytesPerSecond());
  }

  private void training() {
    line("");
    line("## Training");
    line("");
    line(
        "%s; %d sequences of %d tokens a step. The mesh: %s, interleaved where there are stages,"
            + " weight gradients apart. Differences are the largest of any step, relative, with a"
            + " bound of %.0e.",
        shape.name(),
        shape.batchSequences(),
        shape.sequenceLength(),
        mesh(shape.mesh()),
        tolerance(shape));
    line("");
    line(
        "| run | steps | first and last loss | difference to one rank | tokens/s | beside one rank |");
    line("|---|---|---|---|---|---|");
    row("one rank", outcome.one());
    row("ranks as threads, experts overlap", outcome.parallel());
    row("ranks as threads, no overlap", outcome.apart());
    row("a process for each rank, experts overlap", outcome.split());
    row(
        "ranks as threads, PP 2 × DP %d, every rank has all experts"
            .formatted(shape.stages().data()),
        outcome.stages());
  }

  private static String mesh(Mesh mesh) {
    return "PP %d × EP %d".formatted(mesh.pipeline(), mesh.expert());
  }

  private void row(String name, Done run) {
    double difference = difference(run.losses(), outcome.one().losses(), 0);
    line(
        "| %s | %d | %.4f, %.4f | %s | %.0f | %.2f |",
        name,
        run.losses().size(),
        run.losses().getFirst(),
        run.losses().getLast(),
        verdict(difference),
        tokensPerSecond(run),
        tokensPerSecond(run) / tokensPerSecond(outcome.one()));
  }

  private String verdict(double difference) {
    boolean holds = difference <= tolerance(shape);
    return String.format(Locale.ROOT, "%.1e%s", difference, holds ? "" : ", TOO MUCH");
  }

  /** Over the median step; the first warms up. */
  private double tokensPerSecond(Done run) {
    double[] seconds = run.seconds().stream().skip(1).mapToDouble(Double::doubleValue).toArray();
    return shape.batchSequences() * (double) shape.sequenceLength() / GpuLab.median(seconds);
  }

  /** The file of a step as it was. */
  static String measured(String traces) {
    return traces + "-measured.trace.json";
  }

  /** The file of that step as the planner has it. */
  static String planned(String traces) {
    return traces + "-planned.trace.json";
  }

  private void timelines() {
    line("");
    line("## Timeline");
    line("");
    line(
        "The passes of the last step, one rank of each stage, as that rank's threads saw them%s;"
            + " beside it the planner's simulation of the same schedule from what its steps took"
            + " (`%s`, `%s`, with overlap).",
        shape.gpus() == 0
            ? ""
            : " (a thread can be ahead of its GPU: a step's work may show under a later one)",
        measured(traces),
        planned(traces));
    line("");
    line("| | overlap on | overlap off |");
    line("|---|---|---|");
    Step on = outcome.withOverlap();
    Step off = outcome.without();
    line(
        "| passes, measured | %.1f ms | %.1f ms |",
        1e3 * on.measured().span(), 1e3 * off.measured().span());
    line(
        "| passes, planned | %.1f ms | %.1f ms |",
        1e3 * on.predicted().span(), 1e3 * off.predicted().span());
    line(
        "| bubble, measured | %.1f %% | %.1f %% |",
        100 * on.measured().bubbleShare(), 100 * off.measured().bubbleShare());
    line(
        "| bubble, planned | %.1f %% | %.1f %% |",
        100 * on.predicted().bubbleShare(), 100 * off.predicted().bubbleShare());
    line("| experts' exchanges under compute | %.0f %% | inside the passes |", 100 * on.hidden());
  }

  private void lost() {
    line("");
    line("## A lost rank");
    line("");
    boolean codes =
        outcome.lost().exitCodes().stream().allMatch(c -> c == ExitCode.LOST_PEER.code());
    line(
        "One of %d processes is killed in the middle of an all-to-all. The others ended within"
            + " %.1f s (bound %.0f) with the exit codes %s (%s: %d)%s. Left on the GPUs: %s.",
        outcome.lost().exitCodes().size() + 1,
        outcome.lost().seconds(),
        PEER_SECONDS,
        outcome.lost().exitCodes(),
        ExitCode.LOST_PEER,
        ExitCode.LOST_PEER.code(),
        codes && outcome.lost().seconds() <= PEER_SECONDS ? "" : ", WRONG",
        outcome
            .left()
            .map(pids -> pids.isEmpty() ? "none of these processes" : "processes " + pids)
            .orElse("not to be seen, without a GPU or nvidia-smi"));
  }

  private void resumed() {
    line("");
    line("## A checkpoint on fewer ranks");
    line("");
    line(
        "Written after step %d by %d ranks (%s) in %.1f s, gone on with by %d (%s): difference to"
            + " the run that was never interrupted %s.",
        shape.steps(),
        shape.mesh().world(),
        mesh(shape.mesh()),
        outcome.parallel().saveSeconds(),
        shape.smaller().world(),
        mesh(shape.smaller()),
        verdict(
            difference(outcome.resumed().losses(), outcome.parallel().losses(), shape.steps())));
  }
}
