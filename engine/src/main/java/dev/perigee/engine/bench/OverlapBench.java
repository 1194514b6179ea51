package dev.perigee.engine.bench;

import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.optim.Optimizer;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.train.StepRecorder;
import dev.perigee.engine.train.StepReport;
import dev.perigee.engine.train.TrackRecorder;
import dev.perigee.engine.train.TrainStep;
import dev.perigee.plan.ChromeTrace;
import dev.perigee.plan.Timeline;
import dev.perigee.plan.Timeline.Lane;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import dev.perigee.run.RankMap;
import dev.perigee.run.RunConfig;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * What it is worth to exchange experts' rows under the compute of another micro-batch: four ranks
 * that share the experts, in two pods joined by TCP over the loopback, train the same model with
 * overlap and without, step by step in turns so that what else the machine does hits both alike.
 * Once on the loopback as it is, and once with exchanges that take what a network would.
 */
public final class OverlapBench {
  private static final int PODS = 2;
  private static final int RANKS_PER_POD = 2;
  private static final int PEER_SECONDS = 30;

  private OverlapBench() {}

  /**
   * What to measure.
   *
   * @param network that exchanges wait for, null for the loopback as it is
   * @param warmupSteps steps of each kind before the measurement
   * @param steps measured steps of each kind
   * @param traces path that the traces' names begin with, for the last step of each kind; null for
   *     none
   */
  record Options(
      ModelConfig model,
      PacedLinks.Network network,
      int sequenceLength,
      int sequencesPerRank,
      int warmupSteps,
      int steps,
      Path traces) {
    /** The trace of one kind. */
    Path trace(String kind) {
      return traces.resolveSibling(traces.getFileName() + "-" + kind + ".trace.json");
    }
  }

  /**
   * What came out of one kind.
   *
   * @param seconds median of a step
   * @param exchangeSeconds that exchanges on threads of their own took in the recorded step, over
   *     all ranks; without overlap there are none
   * @param hidden share of these during which the same rank computed, 0 to 1
   * @param timeline of the recorded step's passes
   */
  record Result(double seconds, double exchangeSeconds, double hidden, Timeline timeline) {}

  /**
   * Measures the quickstart's model; writes the page to the file named by the argument, and the
   * traces beside it.
   */
  public static void main(String[] args) throws Exception {
    Path page = args.length > 0 ? Path.of(args[0]).toAbsolutePath() : null;
    if (page != null) {
      BenchPage.check(page);
    }
    Options loopback = quickstart(null, page == null ? null : page.resolveSibling("overlap"));
    Options network =
        quickstart(
            PacedLinks.Network.GIGABIT,
            page == null ? null : page.resolveSibling("overlap-network"));
    String text = page(loopback, run(loopback), network, run(network));
    System.out.println(text);
    if (page != null) {
      BenchPage.write(page, text);
    }
  }

  private static Options quickstart(PacedLinks.Network network, Path traces) {
    return new Options(
        ModelPresets.find("quickstart").orElseThrow(), network, 128, 8, 5, 25, traces);
  }

  /** The result without overlap and the one with it. */
  static List<Result> run(Options o) throws Exception {
    List<RankMap.Pod> pods = new ArrayList<>();
    for (int pod = 0; pod < PODS; pod++) {
      List<Integer> ranks = List.of(pod * RANKS_PER_POD, pod * RANKS_PER_POD + 1);
      pods.add(new RankMap.Pod(pod, address(pod).getHostAddress(), null, ranks));
    }
    RankMap map = new RankMap(1, pods);
    RunConfig.Network network = new RunConfig.Network(1, freePort(), 30, PEER_SECONDS);
    try (ExecutorService threads = Executors.newThreadPerTaskExecutor(Thread::new)) {
      List<Callable<List<Rank>>> calls = new ArrayList<>();
      for (int pod = 0; pod < PODS; pod++) {
        int index = pod;
        calls.add(() -> runPod(o, map, index, network));
      }
      List<Rank> ranks = new ArrayList<>();
      for (Future<List<Rank>> future : threads.invokeAll(calls)) {
        ranks.addAll(future.get());
      }
      List<Result> results = List.of(result(ranks, 0), result(ranks, 1));
      if (o.traces != null) {
        ChromeTrace.write(results.get(0).timeline, o.trace("off"));
        ChromeTrace.write(results.get(1).timeline, o.trace("on"));
      }
      return results;
    }
  }

  private static InetAddress address(int pod) throws IOException {
    return InetAddress.getByName("127.0.78." + (pod + 1));
  }

  private static int freePort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0, 1, address(0))) {
      return socket.getLocalPort();
    }
  }

  private static List<Rank> runPod(Options o, RankMap map, int pod, RunConfig.Network network)
      throws Exception {
    try (Fabric fabric =
        Fabric.connect("bench/overlap", "digest", map, pod, network, address(pod))) {
      return fabric.run(rank -> new Rank(o, fabric, rank).run());
    }
  }

  /** One rank, which trains two models: without overlap and with it. */
  private static final class Rank {
    private final Options options;
    private final List<TrainStep> steps = new ArrayList<>();
    private final List<List<Double>> seconds = List.of(new ArrayList<>(), new ArrayList<>());
    private final List<TrackRecorder> recorders = List.of(new TrackRecorder(), new TrackRecorder());

    Rank(Options options, Fabric fabric, int rank) {
      this.options = options;
      for (boolean overlap : new boolean[] {false, true}) {
        RunConfig config = config(options, overlap);
        Fabric.Groups groups = paced(fabric.groups(config.mesh(), rank), options.network);
        Model model = Model.create(options.model, new CpuBackend(), groups.expert());
        model.initialize(config.seed());
        steps.add(
            new TrainStep(
                config,
                model,
                new Optimizer(config.optimizer(), model.parameters(), model.backend(), groups),
                groups));
      }
    }

    Rank run() {
      for (int step = 1; step <= options.warmupSteps + options.steps; step++) {
        boolean last = step == options.warmupSteps + options.steps;
        for (int kind = 0; kind < steps.size(); kind++) {
          StepReport report =
              steps
                  .get(kind)
                  .run(step, this::random, last ? recorders.get(kind) : StepRecorder.NONE);
          if (step > options.warmupSteps) {
            seconds.get(kind).add(report.seconds());
          }
        }
      }
      return this;
    }

    private void random(long number, int[] ids, int[] targets, int at) {
      SplittableRandom random = new SplittableRandom(number);
      for (int i = 0; i < options.sequenceLength; i++) {
        ids[at + i] = random.nextInt(options.model.vocabSize());
        targets[at + i] = random.nextInt(options.model.vocabSize());
      }
    }
  }

  /** The groups, with a network under the experts' exchanges. */
  private static Fabric.Groups paced(Fabric.Groups groups, PacedLinks.Network network) {
    return network == null
        ? groups
        : new Fabric.Groups(
            groups.data(),
            new PacedLinks(groups.expert(), RANKS_PER_POD, network),
            groups.dense(),
            groups.replica(),
            groups.pipeline(),
            groups.world());
  }

  private static RunConfig config(Options o, boolean overlap) {
    int ranks = PODS * RANKS_PER_POD;
    return new RunConfig(
            "bench/overlap",
            1,
            new RunConfig.Model(o.model, null),
            List.of(new RunConfig.DataSource("random", 1, "arithmetic", null)),
            new RunConfig.Tokenizer(RunConfig.Tokenizer.Kind.bytes, null),
            o.sequenceLength,
            (long) ranks * o.sequencesPerRank * o.sequenceLength,
            new Mesh(1, ranks, ranks, RANKS_PER_POD),
            RunConfig.Optimizer.DEFAULT,
            new RunConfig.Schedule(1e-3, 0, 0, 1e-3),
            o.warmupSteps + o.steps,
            new RunConfig.Checkpoint("unused", 1, 1),
            null,
            RunConfig.Network.DEFAULT)
        .with(new RunConfig.Pipeline(1, 1, overlap, false, null));
  }

  private static Result result(List<Rank> ranks, int kind) {
    List<Double> seconds =
        ranks.stream().flatMap(rank -> rank.seconds.get(kind).stream()).sorted().toList();
    Timeline timeline =
        TrackRecorder.timeline(ranks.stream().map(rank -> rank.recorders.get(kind)).toList());
    List<Double> from = Collections.nCopies(ranks.size(), 0.0);
    List<Double> to = Collections.nCopies(ranks.size(), Double.POSITIVE_INFINITY);
    double exchange = timeline.busy(Lane.EXPERTS);
    return new Result(
        seconds.get(seconds.size() / 2),
        exchange,
        exchange == 0 ? 0 : timeline.hiddenShare(Lane.EXPERTS, from, to),
        timeline);
  }

  private static String page(
      Options o, List<Result> loopback, Options paced, List<Result> network) {
    return String.format(
        Locale.ROOT,
        """
        # Exchange of experts' rows under compute

        `./perigee bench overlap`: 4 ranks share the experts (EP 4), in 2 pods joined by TCP over the
        loopback, all on this machine's %d cores; the quickstart's model, %d sequences of %d tokens
        a rank, micro-batches of one sequence, %d steps of each kind in turns.

        ## With a network between the pods

        The loopback has no network to wait for, so here each exchange takes at least %.1f ms, and the
        time in which the rows of other pods go through a link of %.0f MB/s a rank, each way
        (`PacedLinks`). The rank's thread that exchanges sleeps for it; the rows still travel over TCP.

        %s
        The recorded steps: `overlap-network-off.trace.json` and `overlap-network-on.trace.json`.

        ## On the loopback as it is

        %s
        The recorded steps: `overlap-off.trace.json` and `overlap-on.trace.json`. All traces are in
        Chrome's format, beside this page, with the names of the schedule's steps.
        """,
        Runtime.getRuntime().availableProcessors(),
        o.sequencesPerRank,
        o.sequenceLength,
        o.steps,
        paced.network.latencyNanos() / 1e6,
        paced.network.bytesPerSecond() / 1e6,
        table(network),
        table(loopback));
  }

  private static String table(List<Result> results) {
    Result off = results.get(0);
    Result on = results.get(1);
    return String.format(
        Locale.ROOT,
        """
        | | overlap off | overlap on |
        |---|---|---|
        | a step, median | %.1f ms | %.1f ms |
        | exchanges of the recorded step, over all ranks | inside the passes | %.1f ms |
        | of these while the same rank computed | none | %.0f %% |
        """,
        1e3 * off.seconds,
        1e3 * on.seconds,
        1e3 * on.exchangeSeconds,
        100 * on.hidden);
  }
}
