package dev.perigee.trainer;

import dev.perigee.engine.checkpoint.CheckpointStore;
import dev.perigee.engine.checkpoint.HfConfig;
import dev.perigee.engine.data.TrainingData;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.parallel.LostPeerException;
import dev.perigee.plan.StepPlan;
import dev.perigee.run.ExitCode;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunFiles;
import dev.perigee.run.RunStatus.Phase;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * The program of a PretrainJob's pod, from top to bottom: read the configuration ({@link Launch}),
 * listen ({@link HttpEndpoint}), wait for a place ({@link Turn}), meet the other pods ({@link
 * Fabric}), load the data, see that all have the same ({@link SameData}), and let each rank of the
 * pod run ({@link RankRun}) until all is done or something fails ({@link Ending}).
 */
public final class Trainer {
  /** Kubernetes' default time between SIGTERM and SIGKILL, for a program that is not told. */
  private static final Duration USUAL_GRACE = Duration.ofSeconds(30);

  /** Kept of the grace for saying why it ends. */
  private static final Duration LAST_WORDS = Duration.ofSeconds(2);

  private static final Duration GOODBYE_PATIENCE = Duration.ofSeconds(5);

  /** In which ranks notice that work together has ended. */
  private static final Duration SEEN_BY_RANKS = Duration.ofSeconds(2);

  private final Ending ending =
      new Ending(Launch.root(System.getenv()).resolve(RunFiles.TERMINATION_LOG));
  private final Requests requests = new Requests();
  private final Log log;
  private volatile Progress progress;

  private Trainer(Log log) {
    this.log = log;
  }

  /** Runs until the job is done; ends the process with an {@link ExitCode}. */
  public static void main(String[] arguments) {
    Locale.setDefault(Locale.ROOT); // its numbers are read by people and programs of any country
    System.setOut(utf8(FileDescriptor.out));
    System.setErr(utf8(FileDescriptor.err));
    Trainer trainer = new Trainer(new Log(System.out));
    Thread.setDefaultUncaughtExceptionHandler(
        (thread, error) -> trainer.ending.failure(error, trainer.progress));
    Runtime.getRuntime().addShutdownHook(new Thread(trainer::terminated, "SIGTERM"));
    ExitCode exitCode = ExitCode.INTERNAL;
    try {
      exitCode = trainer.run();
    } catch (Throwable error) {
      trainer.ending.failure(error, trainer.progress);
    }
    trainer.ending.now(exitCode);
  }

  private static PrintStream utf8(FileDescriptor descriptor) {
    return new PrintStream(new FileOutputStream(descriptor), true, StandardCharsets.UTF_8);
  }

  private ExitCode run() throws Exception {
    Launch given = Launch.read(System.getenv());
    RunConfig config = given.config();
    ModelConfig shape = shape(given);
    progress = new Progress(config.steps());
    ending.sayLast(progress::lastWords);
    Accelerator accelerator = Accelerator.find(config.compute());
    Pod pod = new Pod(progress, new Metrics(shape, config.steps()), requests, log, accelerator);
    try (HttpEndpoint _ =
        HttpEndpoint.start(
            given.address(), config.network().httpPort(), progress, pod.metrics(), requests)) {
      enter(pod, Phase.Waiting);
      Launch launch = new Turn(given.root()).take(given, log);
      introduce(launch, shape);
      accelerator
          .describe(launch.ranks().pods().get(launch.pod()).ranks().size())
          .ifPresent(log::line);
      enter(pod, Phase.Rendezvous);
      Fabric fabric =
          Fabric.connect(
              config.job(),
              launch.digest(),
              launch.ranks(),
              launch.pod(),
              config.network(),
              launch.address(),
              PeerFile.in(launch.root(), launch.ranks().generation()));
      fabric.whenEnded(why -> Thread.ofVirtual().start(() -> endIfNobodyDoes(why)));
      ExitCode exitCode;
      try {
        enter(pod, Phase.Loading);
        TrainingData data = TrainingData.load(config, launch.root());
        checkVocabulary(data, shape);
        if (launch.pod() == 0) {
          log.line("data " + data);
        }
        SameData.agree(fabric, launch.ranks(), data.fingerprints());
        CheckpointStore store =
            new CheckpointStore(
                launch.resolve(config.checkpoint().directory()),
                config.checkpoint().keep(),
                warning -> log.line("warning: " + warning));
        List<ExitCode> ends =
            fabric.run(
                rank -> {
                  try {
                    return new RankRun(launch, shape, data, store, pod, fabric, rank).run();
                  } catch (Throwable error) {
                    ending.failure(error, progress); // before the neighbours hear of it
                    throw error;
                  }
                });
        exitCode = ends.getFirst();
      } catch (Throwable error) {
        ending.failure(error, progress);
        fabric.abort(Failure.of(error).message());
        throw error;
      }
      ending.within(GOODBYE_PATIENCE, exitCode);
      fabric.close();
      return exitCode;
    }
  }

  /** Ranks see that a peer is lost by themselves, unless they are stuck inside of a library. */
  private void endIfNobodyDoes(String why) {
    try {
      Thread.sleep(SEEN_BY_RANKS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    ending.failure(new LostPeerException(why), progress);
  }

  private void enter(Pod pod, Phase phase) {
    progress.enter(phase);
    pod.metrics().enter(phase);
  }

  /** The model's shape: the configuration's, or that of the checkpoint it starts from. */
  private static ModelConfig shape(Launch launch) throws IOException, TrainerException {
    RunConfig.Model model = launch.config().model();
    if (model.config() != null) {
      return model.config();
    }
    Path file = launch.resolve(model.from()).resolve(HfConfig.FILE);
    ModelConfig shape;
    try {
      shape = HfConfig.read(file).model();
    } catch (NoSuchFileException e) {
      throw new TrainerException(
          ExitCode.BAD_CONFIG,
          "model.from: there is no " + file + "; expected a folder in Hugging Face layout",
          e);
    }
    Mesh mesh = launch.config().mesh();
    List<String> problems = new ArrayList<>(mesh.problems(shape.nRoutedExperts()));
    problems.addAll(StepPlan.problems(launch.config(), shape));
    if (!problems.isEmpty()) {
      throw new TrainerException(ExitCode.BAD_CONFIG, file + ": " + String.join("; ", problems));
    }
    return shape;
  }

  private static void checkVocabulary(TrainingData data, ModelConfig shape)
      throws TrainerException {
    int needed = data.tokenizer().vocabSize();
    if (shape.vocabSize() < needed) {
      throw new TrainerException(
          ExitCode.BAD_CONFIG,
          "model.vocabSize: "
              + shape.vocabSize()
              + " is less than the tokenizer's "
              + needed
              + "; use a model with at least that many");
    }
  }

  private void introduce(Launch launch, ModelConfig shape) {
    Mesh mesh = launch.config().mesh();
    log.line(
        "job %s: pod %d of %d with ranks %s, listening on %s"
            .formatted(
                launch.config().job(),
                launch.pod(),
                launch.ranks().pods().size(),
                launch.ranks().pods().get(launch.pod()).ranks(),
                launch.address().getHostAddress()));
    if (launch.pod() == 0) {
      log.line(
          "model of %,d parameters, %,d active for a token; data parallel %d, expert parallel %d"
              .formatted(
                  shape.totalParameters(), shape.activeParameters(), mesh.data(), mesh.expert()));
      StepPlan plan = StepPlan.of(launch.config(), shape);
      if (plan.layout().chunks() > 1) {
        log.line("pipeline of " + plan);
      }
    }
  }

  /** SIGTERM: the step is finished and saved, when steps are being taken. */
  private void terminated() {
    requests.stop();
    Progress now = progress;
    Phase phase = now == null ? Phase.Starting : now.phase();
    if (phase == Phase.Starting
        || phase == Phase.Waiting
        || phase == Phase.Rendezvous
        || phase == Phase.Loading) {
      // Nothing has been done since the last checkpoint.
      ending.now(ExitCode.STOPPED);
    }
    Duration patience = stopPatience(System.getenv());
    try {
      Thread.sleep(patience);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    System.err.println(
        "perigee-trainer: not saved within " + patience.toSeconds() + " s of SIGTERM");
    ending.now(ExitCode.INTERNAL);
  }

  /** How long after SIGTERM a save may take: nearly all of the pod's grace. */
  static Duration stopPatience(Map<String, String> environment) {
    Duration grace = USUAL_GRACE;
    String seconds = environment.getOrDefault(RunFiles.GRACE_VARIABLE, "");
    try {
      if (!seconds.isBlank()) {
        grace = Duration.ofSeconds(Long.parseLong(seconds.strip()));
      }
    } catch (NumberFormatException e) {
      System.err.println(
          "perigee-trainer: "
              + RunFiles.GRACE_VARIABLE
              + ": "
              + seconds
              + " is not a number of seconds; taking "
              + grace.toSeconds());
    }
    Duration patience = grace.minus(LAST_WORDS);
    return patience.isPositive() ? patience : Duration.ofMillis(500);
  }
}
