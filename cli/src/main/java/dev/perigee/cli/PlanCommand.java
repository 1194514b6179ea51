package dev.perigee.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.api.PretrainJob;
import dev.perigee.cli.cluster.EmbeddedCluster;
import dev.perigee.cli.cluster.api.ApiServer;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.operator.pretrain.JobPlan;
import dev.perigee.plan.Calibration;
import dev.perigee.plan.ChromeTrace;
import dev.perigee.plan.Figures;
import dev.perigee.plan.Gpu;
import dev.perigee.plan.Hardware;
import dev.perigee.plan.LayoutSearch;
import dev.perigee.plan.MeasuredCosts;
import dev.perigee.plan.Plan;
import dev.perigee.plan.RankMemory;
import dev.perigee.plan.Timeline;
import dev.perigee.plan.TimelineSvg;
import dev.perigee.plan.Timing;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.regex.Pattern;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code ./perigee plan FILE...}. */
@Command(
    name = "plan",
    description =
        "Say what the manifests' jobs will need and take, before anything runs. Exit code 1 when a"
            + " job cannot work; then the nearest layouts that can are named.",
    mixinStandardHelpOptions = true)
final class PlanCommand implements Callable<Integer> {
  /** What Jackson adds for programmers. */
  private static final Pattern JAVA_CLASS = Pattern.compile(" \\(class [^)]*\\)");

  /** Layouts that are named in place of one that does not fit. */
  private static final int NAMED = 3;

  private static final int SHOWN = 5;

  @Parameters(
      arity = "1..*",
      paramLabel = "FILE",
      description = "Manifests, YAML or JSON; - is standard input.")
  private List<Path> files;

  @Option(
      names = "--gpu",
      paramLabel = "NAME",
      description =
          "Plan for this GPU, whatever the manifest asks for: A100, H20, H100, H800, H200 or B200.")
  private String gpu;

  @Option(
      names = "--node-link",
      paramLabel = "GB/s",
      description = "Speed between GPUs of a node, each way, in place of the GPU's.")
  private Double nodeLink;

  @Option(
      names = "--network",
      paramLabel = "GB/s",
      description = "Speed between nodes for each GPU, each way, in place of the GPU's.")
  private Double network;

  @Option(
      names = "--calibrate",
      paramLabel = "FILE",
      description =
          "Measured figures as JSON, for example {\"forwardSeconds\": 0.12, \"backwardSeconds\":"
              + " 0.25}, or a recorded trace; docs/plan.md names them all.")
  private Path calibrate;

  @Option(
      names = "--search",
      paramLabel = "RANKS",
      description = "Also find the fastest layouts for so many ranks.")
  private Integer search;

  @Option(
      names = "--trace",
      paramLabel = "FILE",
      description =
          "Write one simulated step in Chrome's trace format, and a picture of it to FILE.svg.")
  private Path trace;

  @Option(names = "--json", description = "Print JSON.")
  private boolean json;

  @Override
  public Integer call() throws IOException {
    Calibration calibration = calibration();
    checkTrace();
    List<Manifests.Document> documents = Manifests.read(files);
    if (documents.stream().noneMatch(d -> d.kind().equals(PretrainJob.KIND))) {
      throw new CommandFailure(
          "no PretrainJob in "
              + files
              + ", so there is nothing to plan; found "
              + String.join(", ", documents.stream().map(Manifests.Document::kind).toList()),
          2);
    }
    List<PretrainJob> jobs = jobs(documents);
    if (trace != null && jobs.size() > 1) {
      throw new CommandFailure(
          "--trace: a trace is of one job, and "
              + files
              + " have %d; give the manifest of one".formatted(jobs.size()),
          2);
    }
    PrintWriter out = Perigee.out();
    boolean good = true;
    for (PretrainJob job : jobs) {
      good &= plan(job, calibration, out);
    }
    return good ? 0 : 1;
  }

  /** The jobs as an API server would have them: checked, and with defaults. */
  private static List<PretrainJob> jobs(List<Manifests.Document> documents) throws IOException {
    try (ApiServer api = new ApiServer(0)) {
      EmbeddedCluster.installCrds(api);
      Manifests.create(documents, api);
      return api.store().list("pretrainjobs.perigee.dev", "").objects().stream()
          .map(PlanCommand::job)
          .toList();
    }
  }

  private static PretrainJob job(ObjectNode object) {
    try {
      return Json.MAPPER.treeToValue(object, PretrainJob.class);
    } catch (JsonProcessingException e) {
      throw new IllegalStateException("the API server let a job pass that cannot be read", e);
    }
  }

  private boolean plan(PretrainJob job, Calibration calibration, PrintWriter out)
      throws IOException {
    String name = job.getMetadata().getName();
    JobPlan asked = JobPlan.of(job, hardware(job));
    if (asked.run().model().config() == null) {
      throw new CommandFailure(
          name
              + ": only the checkpoint knows the model's shape; give model.preset or model.config");
    }
    if (!asked.problems().isEmpty()) {
      System.err.println("perigee: " + name + " cannot work:");
      asked.problems().forEach(problem -> System.err.println("  " + problem));
      return false;
    }
    Plan plan = Plan.of(asked.workload(), asked.layout(), asked.hardware(), calibration);
    List<LayoutSearch.Found> best = search == null ? List.of() : search(asked, calibration);
    if (json) {
      print(name, plan, best, out);
    } else {
      out.println(name);
      out.print(plan.text());
      sparesOf(job).ifPresent(out::println);
      out.flush();
      if (search != null) {
        print(best, out);
      }
    }
    if (trace != null) {
      writeTrace(name, asked, calibration, out);
    }
    return fits(name, asked, plan, calibration);
  }

  /** The plan counts the gang's own pods; spares take as much beside them. */
  private static Optional<String> sparesOf(PretrainJob job) {
    int spares = job.getSpec().failurePolicy().spares();
    return spares == 0
        ? Optional.empty()
        : Optional.of(
            "spares      %d beside these pods, with the resources of one each".formatted(spares));
  }

  /**
   * Whether the fullest rank has the memory that the plan says it takes, activations and all; if
   * not, says so with layouts of as many ranks that do fit. Unlike weights that are too large this
   * is an estimate, so the API and the operator let the job try.
   */
  private static boolean fits(String name, JobPlan asked, Plan plan, Calibration calibration) {
    RankMemory fullest = plan.fullest();
    if (plan.memoryLimit() == null || fullest.total() <= plan.memoryLimit()) {
      return true;
    }
    System.err.printf(
        Locale.ROOT,
        "perigee: %s: by this plan a rank of stage %d needs %s and has %s%n",
        name,
        fullest.stage(),
        Figures.bytes(fullest.total()),
        Figures.bytes(plan.memoryLimit()));
    List<LayoutSearch.Found> best =
        LayoutSearch.best(
            plan.ranks(), asked.workload(), asked.layout(), asked.hardware(), calibration, NAMED);
    if (best.isEmpty()) {
      System.err.printf(
          "  no layout of %d ranks fits with these memory options; more ranks, memory.recompute or"
              + " memory.offload may help%n",
          plan.ranks());
    } else {
      System.err.printf("  layouts of %d ranks that fit, the fastest first:%n", plan.ranks());
      best.forEach(found -> System.err.println("    " + found.layout()));
    }
    return false;
  }

  private List<LayoutSearch.Found> search(JobPlan asked, Calibration calibration) {
    if (search < 1) {
      throw new CommandFailure("--search: " + search + " ranks; expected 1 or more", 2);
    }
    List<LayoutSearch.Found> best =
        LayoutSearch.best(
            search, asked.workload(), asked.layout(), asked.hardware(), calibration, SHOWN);
    if (best.isEmpty()) {
      throw new CommandFailure(
          "--search: no layout of "
              + search
              + " ranks works: batchTokens must divide over the data-parallel ranks, and the"
              + " fullest rank must fit into its memory; try more ranks");
    }
    return best;
  }

  private void print(List<LayoutSearch.Found> best, PrintWriter out) {
    out.printf("%nthe fastest layouts of %d ranks:%n", search);
    for (LayoutSearch.Found found : best) {
      Timing.Seconds seconds = found.plan().timing().seconds();
      out.printf(
          Locale.ROOT,
          "  %-70s %-9s bubble %-7s memory %s%n",
          found.layout(),
          seconds == null ? "" : Figures.seconds(seconds.step()),
          Figures.percent(found.plan().timing().bubbleShare()),
          Figures.bytes(found.plan().fullest().total()));
    }
  }

  private static void print(String name, Plan plan, List<LayoutSearch.Found> best, PrintWriter out)
      throws IOException {
    ObjectNode object = Json.object();
    object.put("job", name);
    object.set("plan", Json.MAPPER.valueToTree(plan));
    if (!best.isEmpty()) {
      object.set(
          "search", Json.MAPPER.valueToTree(best.stream().map(LayoutSearch.Found::plan).toList()));
    }
    out.println(Json.MAPPER.writerWithDefaultPrettyPrinter().writeValueAsString(object));
  }

  private void writeTrace(String name, JobPlan asked, Calibration calibration, PrintWriter out)
      throws IOException {
    Timeline timeline =
        Timing.timeline(asked.workload(), asked.layout(), asked.hardware(), calibration);
    Path picture = trace.resolveSibling(trace.getFileName() + ".svg");
    ChromeTrace.write(timeline, trace);
    Files.writeString(picture, TimelineSvg.draw(timeline, name + ": one step, simulated"));
    if (!json) {
      int all = asked.layout().microBatches(asked.workload());
      int simulated = Timing.simulated(asked.layout().mesh().pipeline(), all);
      out.printf(
          "%ntrace       %s and %s%s%n",
          trace,
          picture,
          simulated < all ? ": the first " + simulated + " of " + all + " micro-batches" : "");
    }
  }

  /** Before anything is computed: a trace that cannot be written ends the command. */
  private void checkTrace() {
    if (trace == null) {
      return;
    }
    Path folder = trace.toAbsolutePath().getParent();
    if (folder == null || Files.isDirectory(trace)) {
      throw new CommandFailure("--trace: " + trace + " is a folder; expected a file to write", 2);
    }
    if (!Files.isDirectory(folder)) {
      throw new CommandFailure("--trace: there is no folder " + folder + " for " + trace, 2);
    }
    if (!Files.isWritable(Files.exists(trace) ? trace : folder)) {
      throw new CommandFailure("--trace: " + trace + " may not be written", 2);
    }
  }

  /** What the options say, or null for what the job asks for. */
  private Hardware hardware(PretrainJob job) {
    Hardware asked = JobPlan.of(job, null).hardware();
    if (gpu != null) {
      Gpu known =
          Gpu.find(gpu)
              .orElseThrow(
                  () ->
                      new CommandFailure(
                          "--gpu: " + gpu + " is not known; expected one of " + Gpu.names(), 2));
      asked =
          new Hardware.Gpus(
              known,
              job.getSpec().parallelism().ranksPerPod(),
              asked instanceof Hardware.Cpu ? Hardware.Precision.BF16 : asked.precision());
    }
    if (nodeLink == null && network == null) {
      return asked;
    }
    if (!(asked instanceof Hardware.Gpus(var of, var perNode, var precision))) {
      throw new CommandFailure(
          "--node-link and --network are for GPUs: give --gpu, or for CPUs"
              + " networkBytesPerSecond in a file for --calibrate",
          2);
    }
    return new Hardware.Gpus(
        of.withLinks(
            speed("--node-link", nodeLink, of.nodeLinkBytesPerSecond()),
            speed("--network", network, of.networkBytesPerSecond())),
        perNode,
        precision);
  }

  private static double speed(String option, Double gigabytes, double otherwise) {
    if (gigabytes == null) {
      return otherwise;
    }
    if (!(gigabytes > 0) || gigabytes.isInfinite()) {
      throw new CommandFailure(option + ": " + gigabytes + " GB/s; expected more than 0", 2);
    }
    return gigabytes * 1e9;
  }

  private Calibration calibration() {
    if (calibrate == null) {
      return Calibration.DEFAULT;
    }
    Calibration read;
    try {
      JsonNode tree = Json.MAPPER.readTree(Files.readString(calibrate));
      read =
          tree.has("traceEvents")
              ? MeasuredCosts.of(ChromeTrace.read(calibrate)).calibration()
              : new ObjectMapper().treeToValue(tree, Calibration.class);
    } catch (IllegalArgumentException e) {
      throw new CommandFailure("--calibrate: " + calibrate + ": " + e.getMessage(), 2);
    } catch (JsonProcessingException e) {
      throw new CommandFailure(
          "--calibrate: "
              + calibrate
              + ": "
              + JAVA_CLASS
                  .matcher(e.getOriginalMessage().lines().findFirst().orElse("not JSON"))
                  .replaceAll("")
              + "; docs/plan.md names the fields",
          2);
    } catch (NoSuchFileException e) {
      throw new CommandFailure("--calibrate: there is no file " + calibrate, 2);
    } catch (CharacterCodingException e) {
      throw new CommandFailure(
          "--calibrate: " + calibrate + " is not UTF-8; expected JSON, see docs/plan.md", 2);
    } catch (IOException e) {
      throw new CommandFailure(
          Files.isDirectory(calibrate)
              ? "--calibrate: " + calibrate + " is a folder; expected a file of JSON"
              : "--calibrate: " + e.getMessage(),
          2);
    }
    if (read == null || !read.problems().isEmpty()) {
      throw new CommandFailure(
          "--calibrate: "
              + calibrate
              + ": "
              + (read == null ? "empty" : String.join("; ", read.problems())),
          2);
    }
    return read;
  }
}
