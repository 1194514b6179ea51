package dev.perigee.engine.bench;

import dev.perigee.engine.bench.GangWork.Collective;
import dev.perigee.engine.bench.GangWork.Done;
import dev.perigee.engine.bench.GangWork.Kind;
import dev.perigee.engine.checkpoint.Folders;
import dev.perigee.engine.cuda.driver.Cuda;
import dev.perigee.plan.ChromeTrace;
import dev.perigee.plan.MeasuredCosts;
import dev.perigee.plan.Schedule;
import dev.perigee.plan.Simulator;
import dev.perigee.plan.StepPlan;
import dev.perigee.plan.Timeline;
import dev.perigee.plan.Timeline.Event;
import dev.perigee.plan.Timeline.Lane;
import dev.perigee.plan.Timeline.Track;
import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;

/**
 * Several GPUs of one host, as {@code ./perigee bench gpus --gpus N}: collectives beside the CPU's
 * results and PyTorch's times, training in a pipeline with shared experts beside one rank's, a rank
 * killed in the middle of an exchange, and a checkpoint that goes on on fewer GPUs. Collectives and
 * training run in one process with a thread for each rank, and again with a process for each rank.
 *
 * <p>With one GPU, or none, the ranks share what there is and exchange by way of the host; what
 * needs more is left empty with the reason.
 */
public final class GpusBench {
  private final GangShape shape;
  private final GangLauncher launcher;
  private final Path folder;

  GpusBench(GangShape shape, Path folder) {
    this.shape = shape;
    this.launcher = new GangLauncher(folder);
    this.folder = folder;
  }

  /**
   * A kind of timeline of one step.
   *
   * @param measured of one rank of each stage
   * @param predicted by the planner's simulator from what the measured steps took
   * @param hidden share of the experts' exchanges under compute of their own rank
   */
  record Step(Timeline measured, Timeline predicted, double hidden) {}

  /**
   * What came out.
   *
   * @param threads collectives with ranks as threads of one process, as the slowest rank saw them
   * @param processes the same with a process for each rank
   * @param torch PyTorch's seconds by operation and size, empty with the reason in {@code noTorch}
   * @param one losses and times of one rank
   * @param parallel those of the mesh in one process, with overlap
   * @param apart those without overlap
   * @param split those with a process for each rank, with overlap
   * @param stages those of two stages that do not share experts, in one process
   * @param resumed those of the smaller mesh from the checkpoint on
   * @param withOverlap the last recorded step of {@code parallel}
   * @param without that of {@code apart}
   * @param lost how the others ended after one rank was killed
   * @param left processes of the killed gang that a GPU still knows; empty where nobody can say
   */
  record Outcome(
      List<Collective> threads,
      List<Collective> processes,
      List<TorchNccl.Timed> torch,
      String noTorch,
      Done one,
      Done parallel,
      Done apart,
      Done split,
      Done stages,
      Done resumed,
      Step withOverlap,
      Step without,
      GangLauncher.Ended lost,
      Optional<List<Long>> left) {}

  /**
   * Runs everything.
   *
   * @param arguments number of GPUs, then the file that gets the page, if any
   */
  public static void main(String[] arguments) throws Exception {
    GangShape shape;
    try {
      shape = GangShape.of(arguments.length > 0 ? Integer.parseInt(arguments[0]) : 1);
    } catch (IllegalArgumentException e) {
      System.err.println("bench gpus: " + e.getMessage());
      System.exit(2);
      return;
    }
    if (shape.gpus() > Cuda.count()) {
      System.err.println(
          "bench gpus: --gpus %d, but this machine has %d%s; --gpus 0 runs on the CPU"
              .formatted(
                  shape.gpus(),
                  Cuda.count(),
                  Cuda.whyAbsent().map(w -> " (" + w + ")").orElse("")));
      System.exit(1);
    }
    Path page = arguments.length > 1 ? Path.of(arguments[1]).toAbsolutePath() : null;
    if (page != null) {
      BenchPage.check(page);
    }
    Path folder = Files.createTempDirectory("perigee-gpus");
    try {
      Outcome outcome = new GpusBench(shape, folder).run();
      String traces =
          page == null ? "gpus" : page.getFileName().toString().replaceFirst("\\.md$", "");
      String text = new GpusReport(shape, outcome, traces).page();
      System.out.println(text);
      if (page != null) {
        BenchPage.write(page, text);
        ChromeTrace.write(
            outcome.withOverlap.measured, page.resolveSibling(GpusReport.measured(traces)));
        ChromeTrace.write(
            outcome.withOverlap.predicted, page.resolveSibling(GpusReport.planned(traces)));
      }
    } finally {
      Folders.delete(folder);
    }
  }

  Outcome run() throws IOException, InterruptedException {
    Mesh mesh = shape.mesh();
    int ranks = mesh.world();
    Mesh flat = new Mesh(1, ranks, ranks, ranks);
    int last = 2 * shape.steps();
    String checkpoints = folder.resolve("checkpoints").toString();

    say("collectives, one process");
    GangWork sweep = new GangWork(Kind.COLLECTIVES, shape, flat, false, 0, 0, null, null);
    List<Collective> threads = slowest(launcher.run(sweep, 1));
    say("collectives, a process for each rank");
    List<Collective> processes = slowest(launcher.run(sweep, ranks));
    TorchNccl torch = TorchNccl.run(shape, threads);
    say("training on one rank");
    Done one = launcher.run(training(Mesh.SINGLE, false, 1, last, null, null), 1).getFirst();
    say("training on " + ranks + " ranks, with overlap");
    List<Done> parallel = launcher.run(training(mesh, true, 1, last, null, checkpoints), 1);
    say("without overlap");
    List<Done> apart = launcher.run(training(mesh, false, 1, last, null, null), 1);
    say("a process for each rank");
    List<Done> split = launcher.run(training(mesh, true, 1, shape.steps(), null, null), ranks);
    say("two stages that do not share experts");
    List<Done> stages = launcher.run(training(shape.stages(), false, 1, last, null, null), 1);
    say("from the checkpoint on " + shape.smaller().world() + " ranks");
    Done resumed =
        launcher
            .run(training(shape.smaller(), true, shape.steps() + 1, last, checkpoints, null), 1)
            .getFirst();
    say("a rank is killed");
    GangLauncher.Ended lost =
        launcher.killOne(
            new GangWork(Kind.EXCHANGE_FOR_EVER, shape, flat, false, 0, 0, null, null), 1);
    return new Outcome(
        threads,
        processes,
        torch.timed(),
        torch.absent(),
        one,
        parallel.getFirst(),
        apart.getFirst(),
        split.getFirst(),
        stages.getFirst(),
        resumed,
        step(parallel, true),
        step(apart, false),
        lost,
        stillOnGpu(lost.pids()));
  }

  private static void say(String what) {
    System.err.println("bench gpus: " + what);
  }

  private GangWork training(
      Mesh mesh, boolean overlap, long first, long last, String from, String to) {
    // Overlap needs somebody to exchange with.
    boolean exchanges = overlap && mesh.expert() > 1;
    return new GangWork(Kind.TRAINING, shape, mesh, exchanges, first, last, from, to);
  }

  /** For each collective the time of the slowest rank; right only when every rank says so. */
  static List<Collective> slowest(List<Done> ranks) {
    List<Collective> all = new ArrayList<>();
    for (int i = 0; i < ranks.getFirst().collectives().size(); i++) {
      Collective first = ranks.getFirst().collectives().get(i);
      boolean right = true;
      double seconds = 0;
      for (Done rank : ranks) {
        right &= rank.collectives().get(i).right();
        seconds = Math.max(seconds, rank.collectives().get(i).seconds());
      }
      all.add(new Collective(first.name(), first.elements(), right, seconds));
    }
    return all;
  }

  /** The recorded step beside what the planner says of it. */
  private Step step(List<Done> ranks, boolean overlap) {
    RunConfig config = shape.run(shape.mesh(), overlap);
    Schedule schedule = StepPlan.of(config, shape.model()).schedule(shape.model());
    List<Track> ofStages = new ArrayList<>();
    for (int stage = 0; stage < shape.mesh().pipeline(); stage++) {
      Track recorded = ranks.get(stage * shape.mesh().data()).track();
      ofStages.add(new Track("stage " + stage, recorded.events()));
    }
    double origin =
        ofStages.stream()
            .flatMap(t -> t.events().stream())
            .mapToDouble(Event::start)
            .min()
            .orElseThrow();
    Timeline measured =
        new Timeline(
            ofStages.stream()
                .map(
                    t ->
                        new Track(
                            t.name(),
                            t.events().stream()
                                .map(
                                    e ->
                                        new Event(
                                            e.name(),
                                            e.lane(),
                                            e.start() - origin,
                                            e.end() - origin))
                                .toList()))
                .toList());
    Timeline predicted = Simulator.run(schedule, MeasuredCosts.of(measured));
    double hidden = 0;
    if (measured.busy(Lane.EXPERTS) > 0) {
      int stages = ofStages.size();
      hidden =
          measured.hiddenShare(
              Lane.EXPERTS,
              Collections.nCopies(stages, 0.0),
              Collections.nCopies(stages, Double.POSITIVE_INFINITY));
    }
    return new Step(measured, predicted, hidden);
  }

  /** Which of the processes the driver still counts as users of a GPU. */
  private Optional<List<Long>> stillOnGpu(List<Long> pids)
      throws IOException, InterruptedException {
    if (shape.gpus() == 0) {
      return Optional.empty();
    }
    Process smi;
    try {
      smi =
          new ProcessBuilder("nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader")
              .start();
    } catch (IOException noSuchProgram) {
      return Optional.empty();
    }
    List<Long> users =
        smi.inputReader().lines().filter(l -> l.matches("\\d+")).map(Long::valueOf).toList();
    smi.waitFor();
    return Optional.of(pids.stream().filter(users::contains).toList());
  }
}
