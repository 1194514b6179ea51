package dev.perigee.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.EmbeddedCluster;
import dev.perigee.cli.cluster.api.Deletion;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.ObjectStore;
import dev.perigee.cli.cluster.api.ResourceType;
import dev.perigee.cli.cluster.api.Write;
import dev.perigee.cli.cluster.node.Programs;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.function.Predicate;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A tiny job on the real operator, in real processes: what breaks is mended, or said. */
class GangIT {
  private static final int STEPS = 100;
  private static final Duration PATIENCE = Duration.ofSeconds(150);

  @TempDir Path folder;
  private PerigeeCluster perigee;
  private ObjectStore store;

  @BeforeEach
  void start() throws IOException {
    perigee =
        PerigeeCluster.start(
            new EmbeddedCluster.Options(
                0,
                folder.resolve("state"),
                folder.resolve("runs"),
                Programs.ofCheckout(Checkout.root())));
    store = perigee.cluster().api().store();
  }

  @AfterEach
  void stop() {
    perigee.close();
  }

  private String manifest(String name, String change) {
    String text = TinyJob.manifest(name, STEPS, folder.resolve("checkpoints"));
    String[] edit = change.split(" => ", 2);
    return change.isEmpty() ? text : text.replace(edit[0], edit[1]);
  }

  private void create(String manifest) throws IOException {
    Files.createDirectories(folder.resolve("checkpoints"));
    Path file = Files.writeString(folder.resolve("manifest.yaml"), manifest);
    Manifests.create(Manifests.read(List.of(file)), perigee.cluster().api());
  }

  private ResourceType type(String apiVersion, String plural) {
    return perigee.cluster().api().catalog().find(apiVersion, plural).orElseThrow();
  }

  private ObjectNode job(String name) {
    return perigee
        .cluster()
        .api()
        .registry()
        .get(type("perigee.dev/v1alpha1", "pretrainjobs"), "default", name);
  }

  private JobView await(String name, Predicate<JobView> condition) {
    return Awaitility.await()
        .atMost(PATIENCE)
        .pollInterval(Duration.ofMillis(100))
        .until(() -> JobView.of(job(name)), condition);
  }

  private JobView ended(String name) {
    return await(name, v -> v.outcome().isPresent());
  }

  private static boolean isTraining(JobView view) {
    var progress = view.status().progress();
    return progress != null && progress.step() != null && progress.step() >= 25;
  }

  /** Uids of the job's pods by name. */
  private Map<String, String> pods() {
    Map<String, String> uids = new TreeMap<>();
    for (ObjectNode pod : store.list("pods", "default").objects()) {
      uids.put(Json.text(pod, "metadata", "name"), Json.text(pod, "metadata", "uid"));
    }
    return uids;
  }

  /** The bytes of every weight file of the last checkpoint. */
  private Map<String, String> weights(String job) throws IOException {
    Path last = folder.resolve("checkpoints").resolve(job).resolve("step-%08d".formatted(STEPS));
    Map<String, String> hashes = new TreeMap<>();
    try (var files = Files.newDirectoryStream(last, "*.safetensors")) {
      for (Path file : files) {
        hashes.put(file.getFileName().toString(), sha256(file));
      }
    }
    assertThat(hashes).isNotEmpty();
    return hashes;
  }

  private static String sha256(Path file) throws IOException {
    try {
      byte[] digest = MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(file));
      return HexFormat.of().formatHex(digest);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every JDK has SHA-256", e);
    }
  }

  @Test
  void aKilledProcessRestartsTheGangAndTheWeightsAreThoseOfAnUndisturbedRun() throws IOException {
    create(manifest("calm", ""));
    assertThat(ended("calm").outcome()).contains(JobView.Outcome.Complete);
    create(manifest("hit", ""));
    await("hit", GangIT::isTraining);

    perigee.cluster().node().processesOf("default", "hit-1").stream()
        .filter(p -> p.info().command().orElse("").endsWith("java"))
        .forEach(ProcessHandle::destroyForcibly);

    JobView end = ended("hit");
    assertThat(end.outcome()).as(end.toString()).contains(JobView.Outcome.Complete);
    assertThat(end.status().attempt().number()).isGreaterThan(1);
    assertThat(weights("hit")).isEqualTo(weights("calm"));
  }

  @Test
  void theOperatorCanStopAndStartInMidRunAndNoPodNotices() throws IOException {
    create(manifest("steady", ""));
    await("steady", GangIT::isTraining);
    Map<String, String> before = pods();

    perigee.stopOperator();
    perigee.startOperator();

    JobView end = ended("steady");
    assertThat(end.outcome()).contains(JobView.Outcome.Complete);
    assertThat(pods()).isEqualTo(before).hasSize(2);
    assertThat(end.status().attempt().number()).isEqualTo(1);
  }

  @Test
  void aDeletedJobLeavesNothingButItsCheckpoints() throws IOException {
    create(manifest("gone", ""));
    await("gone", v -> v.status().lastDurableCheckpoint() != null);

    perigee
        .cluster()
        .api()
        .registry()
        .delete(
            type("perigee.dev/v1alpha1", "pretrainjobs"),
            "default",
            "gone",
            Deletion.DEFAULT,
            false);

    Awaitility.await()
        .atMost(PATIENCE)
        .until(
            () ->
                store.all().keySet().stream()
                    .noneMatch(
                        k -> k.name().startsWith("gone") && !k.resource().startsWith("events")));
    assertThat(folder.resolve("checkpoints/gone")).isNotEmptyDirectory();
  }

  @Test
  void aMissingDataFileFailsTheJobAtOnceAndSaysWhich() throws IOException {
    Path data = Files.createDirectories(folder.resolve("data"));
    create(
        manifest(
            "dataless",
            "{name: book, builtin: arithmetic} => {name: book, path: no.jsonl, volume: {hostPath:"
                + " {path: "
                + data
                + "}}}"));

    JobView end = ended("dataless");

    assertThat(end.outcome()).contains(JobView.Outcome.Failed);
    assertThat(end.why().orElseThrow().message()).contains("no.jsonl");
    assertThat(end.status().restarts()).isZero();
  }

  @Test
  void aLineThatIsNotJsonFailsTheJobAndIsNamed() throws IOException {
    Path data = Files.createDirectories(folder.resolve("data"));
    Files.writeString(data.resolve("bad.jsonl"), "{\"text\": \"fine\"}\nnot json\n");
    create(
        manifest(
            "badline",
            "{name: book, builtin: arithmetic} => {name: book, path: bad.jsonl, volume: {hostPath:"
                + " {path: "
                + data
                + "}}}"));

    JobView end = ended("badline");

    assertThat(end.outcome()).contains(JobView.Outcome.Failed);
    assertThat(end.why().orElseThrow().message()).contains("bad.jsonl").contains("2");
    assertThat(end.doing()).isEqualTo("CorruptData");
  }

  @Test
  void anImageThatNobodyHasIsSaidInTheStatus() throws IOException {
    create(manifest("imageless", "sequenceLength: => image: nowhere/else:1\n  sequenceLength:"));

    JobView view = await("imageless", v -> v.doing().equals("ImagePull"));

    JsonNode pod = store.list("pods", "default").objects().getFirst();
    assertThat(Json.text(pod, "status", "phase")).isEqualTo("Pending");
    assertThat(view.outcome()).isEmpty();
  }

  @Test
  void anImageThatNobodyHasFailsAtItsDeadline() throws IOException {
    create(
        manifest("pulling", "sequenceLength: => image: nowhere/else:1\n  sequenceLength:")
            .replace("{backoffSeconds: 1}", "{deadlines: {imagePullSeconds: 2}}"));

    JobView end = ended("pulling");

    assertThat(end.doing()).isEqualTo("ImagePullDeadline");
    assertThat(end.status().lastFailure().message()).contains("ImagePull");
  }

  @Test
  void aSuspendedJobSavesFreesItsPodsAndResumesOnAnotherMesh() throws IOException {
    create(manifest("moved", ""));
    await("moved", GangIT::isTraining);
    edit("moved", spec -> spec.put("suspend", true));
    await("moved", v -> v.doing().equals("Suspended"));
    assertThat(pods()).isEmpty();
    try (var steps = Files.list(folder.resolve("checkpoints/moved"))) {
      assertThat(steps.map(p -> p.getFileName().toString()))
          .as("saved on the way out, not only every 20 steps")
          .anyMatch(name -> name.matches("step-\\d+") && name.compareTo("step-00000025") >= 0);
    }

    edit(
        "moved",
        spec -> {
          spec.put("suspend", false);
          spec.putObject("parallelism").put("data", 2).put("expert", 2).put("ranksPerPod", 1);
        });

    JobView end = ended("moved");
    assertThat(end.outcome()).as(end.toString()).contains(JobView.Outcome.Complete);
    assertThat(end.status().layout().ranks()).isEqualTo(2);
    assertThat(end.status().restarts()).isZero();
    assertThat(end.status().disruptions()).isZero();
  }

  @Test
  void aJobWaitsForAnotherAndContinuesFromExactlyItsLastCheckpoint() throws Exception {
    create(manifest("second", "  model:\n =>   model:\n    from: {pretrainJob: first}\n"));
    await("second", v -> v.doing().equals("SourceMissing"));
    create(manifest("first", ""));
    await("second", v -> v.doing().equals("WaitingForSource"));
    assertThat(ended("first").outcome()).contains(JobView.Outcome.Complete);

    JobView end = ended("second");

    assertThat(end.outcome()).as(end.toString()).contains(JobView.Outcome.Complete);
    Path last = folder.resolve("checkpoints/first/step-%08d".formatted(STEPS));
    assertThat(end.status().source().checkpoint().digest())
        .isEqualTo(sha256(last.resolve("trainer/manifest.json")));
  }

  @Test
  void aRestartInPlaceKeepsThePodOfRankZero() throws IOException {
    create(
        manifest("kept", "{backoffSeconds: 1} => {backoffSeconds: 1, restart: InPlace}")
            .replace("  sequenceLength:", "  scheduling: {adapter: None}\n  sequenceLength:"));
    await("kept", GangIT::isTraining);
    Map<String, String> before = pods();

    perigee.cluster().node().processesOf("default", "kept-1").stream()
        .filter(p -> p.info().command().orElse("").endsWith("java"))
        .forEach(ProcessHandle::destroyForcibly);

    JobView end = ended("kept");
    assertThat(end.outcome()).as(end.toString()).contains(JobView.Outcome.Complete);
    assertThat(end.status().attempt().number()).isEqualTo(2);
    assertThat(pods().get("kept-0")).isEqualTo(before.get("kept-0"));
    assertThat(pods().get("kept-1")).isNotEqualTo(before.get("kept-1"));
  }

  @Test
  void aJobDeletedWhileItRestartsIsGoneAndItsNameCanBeUsedAgain() throws IOException {
    create(
        manifest("again", "{backoffSeconds: 1} => {backoffSeconds: 600, maxBackoffSeconds: 600}"));
    await("again", GangIT::isTraining);
    perigee.cluster().node().processesOf("default", "again-1").stream()
        .filter(p -> p.info().command().orElse("").endsWith("java"))
        .forEach(ProcessHandle::destroyForcibly);
    await("again", v -> v.doing().equals("Restarting") || v.doing().equals("BackingOff"));

    perigee
        .cluster()
        .api()
        .registry()
        .delete(
            type("perigee.dev/v1alpha1", "pretrainjobs"),
            "default",
            "again",
            Deletion.DEFAULT,
            false);
    Awaitility.await()
        .atMost(PATIENCE)
        .until(
            () ->
                store.all().keySet().stream()
                    .noneMatch(
                        k -> k.name().startsWith("again") && !k.resource().startsWith("events")));

    create(manifest("again", ""));
    JobView end = ended("again");
    assertThat(end.outcome()).as(end.toString()).contains(JobView.Outcome.Complete);
    assertThat(end.status().attempt().number()).as("a new life").isEqualTo(1);
  }

  @Test
  void aProgramThatStandsStillIsAHangAndTheGangRestarts() throws IOException {
    create(
        manifest(
            "still",
            "{backoffSeconds: 1} => {backoffSeconds: 1, hang: {medianSteps: 2, minSeconds: 3}}"));
    await("still", GangIT::isTraining);
    for (ProcessHandle program : perigee.cluster().node().processesOf("default", "still-1")) {
      new ProcessBuilder("kill", "-STOP", Long.toString(program.pid())).start().onExit().join();
    }

    JobView end = ended("still");

    assertThat(end.outcome()).as(end.toString()).contains(JobView.Outcome.Complete);
    assertThat(end.status().lastFailure().reason()).isEqualTo("Hang");
    assertThat(end.status().restarts()).isEqualTo(1);
  }

  @Test
  void aSpareTakesThePlaceOfAPodThatDied() throws IOException {
    create(
        manifest(
                "spared", "{backoffSeconds: 1} => {backoffSeconds: 1, restart: InPlace, spares: 1}")
            .replace("  sequenceLength:", "  scheduling: {adapter: None}\n  sequenceLength:"));
    await("spared", GangIT::isTraining);
    Awaitility.await().atMost(PATIENCE).until(() -> phase("spared-spare0").equals("Running"));
    Map<String, String> before = pods();

    perigee.cluster().node().processesOf("default", "spared-1").stream()
        .filter(p -> p.info().command().orElse("").endsWith("java"))
        .forEach(ProcessHandle::destroyForcibly);

    JobView end = ended("spared");
    assertThat(end.outcome()).as(end.toString()).contains(JobView.Outcome.Complete);
    assertThat(end.status().attempt().number()).isEqualTo(2);
    Map<String, String> after = pods();
    assertThat(after).containsEntry("spared-0", before.get("spared-0"));
    assertThat(after).containsEntry("spared-spare0", before.get("spared-spare0"));
    assertThat(after).doesNotContainKey("spared-1");
    assertThat(Json.text(pod("spared-spare0"), "metadata", "labels", "perigee.dev/pod-index"))
        .isEqualTo("1");
  }

  private ObjectNode pod(String name) {
    return store.list("pods", "default").objects().stream()
        .filter(pod -> Json.text(pod, "metadata", "name").equals(name))
        .findFirst()
        .orElseGet(Json::object);
  }

  private String phase(String pod) {
    return Json.text(pod(pod), "status", "phase");
  }

  private void edit(String name, Consumer<ObjectNode> change) {
    perigee
        .cluster()
        .api()
        .registry()
        .update(
            type("perigee.dev/v1alpha1", "pretrainjobs"),
            "default",
            name,
            "",
            live -> {
              change.accept((ObjectNode) live.path("spec"));
              return live;
            },
            Write.by("test"));
  }
}
