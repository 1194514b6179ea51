package dev.perigee.operator.bench;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJob;
import dev.perigee.operator.real.RealApi;
import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.ConfigMapBuilder;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.api.model.ObjectMeta;
import io.fabric8.kubernetes.api.model.ObjectMetaBuilder;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.api.model.Service;
import io.fabric8.kubernetes.api.model.ServiceBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.dsl.base.PatchContext;
import io.fabric8.kubernetes.client.dsl.base.PatchType;
import io.fabric8.kubernetes.client.utils.Serialization;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.function.BooleanSupplier;
import java.util.function.IntConsumer;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * How the operator stands up to many pods and many jobs: a real API server, simulated nodes, the
 * operator in a JVM of its own. No test by its name; {@code docs/benchmarks/operator.md} has the
 * command, and is what this writes. Every figure stands beside the time that a bare client needs to
 * create the same objects in the same run.
 *
 * <p>System properties: {@code perigee.bench.scale}, 1 for the full size; {@code
 * perigee.bench.out}, file to write.
 */
class OperatorBench {
  private static final double SCALE =
      Double.parseDouble(System.getProperty("perigee.bench.scale", "1"));
  private static final int AT_ONCE = 32;
  private static final int WARM_PODS = 200;

  /** Requests of these kinds that others than the operator make. */
  private static final Set<String> OF_OTHERS =
      Set.of("POST pretrainjobs", "PATCH pods/status", "DELETE pretrainjobs");

  private static final long PATIENCE_SECONDS = 480;

  private final List<String> rows = new ArrayList<>();
  private RealApi api;
  private KubernetesClient client;
  private SimulatedNodes nodes;

  @Test
  void operatorAtScale(@TempDir Path folder) throws Exception {
    api = RealApi.startWithoutAlpha();
    client = api.client();
    Path kubeconfig = Files.writeString(folder.resolve("kubeconfig"), api.kubeconfig());
    try (SimulatedNodes simulated = new SimulatedNodes(client)) {
      nodes = simulated;
      int gang = size(1000);
      int jobs = size(1000);
      try (OperatorProcess first = new OperatorProcess(kubeconfig, folder.resolve("first.log"))) {
        first.awaitReady();
        String namespace = api.namespace("warm");
        create(namespace, "small", WARM_PODS);
        create(namespace, "single", 1);
        await(() -> ready(namespace) == 2);
        Template pods = Template.of(client, namespace, "small");
        Template single = Template.of(client, namespace, "single");
        barePods(pods, WARM_PODS); // the first of everything is slower, for the operator too
        oneGang(gang, barePods(pods, gang));
        manyJobs(jobs, bareJobs(single, jobs));
        fill(9, gang);
        rows.add(row("Heap in use with " + pods() + " pods, MiB", first.liveHeapMib(), "512", ""));
      }
      restart(kubeconfig, folder);
    }
    String page = page();
    System.out.println(page);
    String out = System.getProperty("perigee.bench.out");
    if (out != null) {
      Files.writeString(Path.of(out), page);
    }
  }

  private static int size(int full) {
    return Math.max(8, (int) (full * SCALE) / 8 * 8);
  }

  private void oneGang(int pods, double bare) throws Exception {
    String namespace = api.namespace("gang");
    ApiWrites before = ApiWrites.of(client);
    long started = System.nanoTime();
    create(namespace, "gang", pods);
    await(() -> nodes.births(namespace) == pods);
    double created = seconds(started, nodes.lastBirth(namespace));
    await(() -> ready(namespace) == 1);
    double seen = seconds(nodes.lastBirth(namespace), System.nanoTime());
    ApiWrites writes = ApiWrites.of(client).since(before);
    System.out.println(writes);
    rows.add(row(pods + " pods of one gang created, s", created, "10", ratio(created, bare)));
    rows.add(row("… and the job seen Ready after the last, s", seen, "20", ""));
    rows.add(row("… the same pods by a bare client, s", bare, "", ""));
    rows.add(
        row(
            "… writes of the operator for a pod",
            writes.without(OF_OTHERS) / (double) pods,
            "",
            ""));
  }

  private void manyJobs(int jobs, double bare) throws Exception {
    String namespace = api.namespace("jobs");
    ApiWrites before = ApiWrites.of(client);
    long started = System.nanoTime();
    double reconciled;
    try (ReadyJobs ready = new ReadyJobs(client, namespace)) {
      parallel(jobs, i -> create(namespace, "job-" + i, 1));
      await(() -> ready.count() == jobs);
      reconciled = seconds(started, System.nanoTime());
    }
    ApiWrites writes = ApiWrites.of(client).since(before);
    System.out.println(writes);
    rows.add(
        row(
            jobs + " jobs of one pod created and seen Ready, s",
            reconciled,
            "120",
            ratio(reconciled, bare)));
    rows.add(row("… the same objects by a bare client, each status once, s", bare, "", ""));
    rows.add(
        row(
            "… writes of the operator for a job",
            writes.without(OF_OTHERS) / (double) jobs,
            "",
            ""));
    clear(namespace); // there is no garbage collector here
  }

  private double barePods(Template template, int pods) throws Exception {
    String namespace = api.namespace("bare");
    long begun = System.nanoTime();
    parallel(pods, i -> client.resource(template.pod(namespace, i)).create());
    double alone = seconds(begun, System.nanoTime());
    clear(namespace);
    return alone;
  }

  private double bareJobs(Template template, int jobs) throws Exception {
    String namespace = api.namespace("bare");
    long begun = System.nanoTime();
    parallel(
        jobs,
        i -> {
          // Of another controller, so that the operator does nothing about it.
          createUnmanaged(namespace, "job-" + i);
          client.resource(template.service(namespace, i)).create();
          client.resource(template.configMap(namespace, i)).create();
          client.resource(template.pod(namespace, i)).create();
          patchStatus(namespace, "job-" + i, template.status());
        });
    double alone = seconds(begun, System.nanoTime());
    clear(namespace);
    return alone;
  }

  private void clear(String namespace) throws InterruptedException {
    client.resources(PretrainJob.class).inNamespace(namespace).delete();
    client.pods().inNamespace(namespace).withGracePeriod(0).delete();
    client.configMaps().inNamespace(namespace).delete();
    client.services().inNamespace(namespace).delete();
    await(() -> client.pods().inNamespace(namespace).list().getItems().isEmpty());
  }

  private void fill(int gangs, int pods) throws Exception {
    String namespace = api.namespace("many");
    for (int i = 0; i < gangs; i++) {
      create(namespace, "many-" + i, pods);
    }
    await(() -> ready(namespace) == gangs);
  }

  private void restart(Path kubeconfig, Path folder) throws Exception {
    Map<String, String> before = versions();
    long step = SimulatedNodes.step();
    long started = System.nanoTime();
    try (OperatorProcess second = new OperatorProcess(kubeconfig, folder.resolve("second.log"))) {
      second.awaitReady();
      double ready = seconds(started, System.nanoTime());
      // Every job has been looked at once its status shows a step taken since.
      await(() -> allBeyond(step));
      double steady = seconds(started, System.nanoTime());
      Thread.sleep(10_000);
      Map<String, String> after = versions();
      long written =
          after.entrySet().stream()
                  .filter(e -> !e.getValue().equals(before.get(e.getKey())))
                  .count()
              + before.keySet().stream().filter(k -> !after.containsKey(k)).count();
      rows.add(row("Restart with " + before.size() + " pods: ready, s", ready, "", ""));
      rows.add(row("… every job looked at, s", steady, "30", ""));
      rows.add(row("… pods written in that time and 10 s more", written, "0", ""));
      rows.add(row("… heap in use, MiB", second.liveHeapMib(), "512", ""));
    }
  }

  private String page() {
    return """
    # The operator at scale

    Written by `./perigee test -pl crds,operator -Dtest=OperatorBench -Dsurefire.failIfNoSpecifiedTests=false
    -DskipITs -Dperigee.bench.out=$PWD/docs/benchmarks/operator.md`, which needs the binaries of Fabric8's
    kube-api-test in `~/.kubeapitest`. A real kube-apiserver with etcd, nodes that start every pod at once (the
    bare client's too) and answer `/status`, and the operator in a JVM of its own with a heap of %d MiB at most; all on one machine,
    %d cores, Java %s. A ratio is to the time in which a bare client creates the same objects in the same run, %d
    at once.

    | What | Measured | Goal | Ratio to a bare client |
    |---|---:|---:|---:|
    %s
    """
        .formatted(
            OperatorProcess.HEAP_MIB,
            Runtime.getRuntime().availableProcessors(),
            System.getProperty("java.version"),
            AT_ONCE,
            String.join("\n", rows));
  }

  private static String row(String what, long measured, String goal, String ratio) {
    return row(what, (double) measured, goal, ratio);
  }

  private static String row(String what, double measured, String goal, String ratio) {
    String number =
        measured == Math.rint(measured)
            ? String.format(Locale.ROOT, "%.0f", measured)
            : String.format(Locale.ROOT, "%.1f", measured);
    System.out.println(what + ": " + number);
    return "| "
        + what
        + " | "
        + number
        + " | "
        + (goal.isEmpty() ? "" : "≤ " + goal)
        + " | "
        + ratio
        + " |";
  }

  private static String ratio(double measured, double bare) {
    return String.format(Locale.ROOT, "%.2f", measured / bare);
  }

  private static double seconds(long from, long to) {
    return (to - from) / 1e9;
  }

  private void create(String namespace, String name, int pods) {
    post(namespace, job(name, pods));
  }

  private void createUnmanaged(String namespace, String name) {
    ObjectNode job = job(name, 1);
    job.withObject("/spec").put("managedBy", "example.com/nobody");
    post(namespace, job);
  }

  private static ObjectNode job(String name, int pods) {
    ObjectNode job = (ObjectNode) RealApi.example();
    job.withObject("/metadata").put("name", name);
    job.withObject("/spec/parallelism").put("data", pods).put("expert", 1).put("ranksPerPod", 1);
    job.withObject("/spec").put("batchTokens", 128L * pods).put("sequenceLength", 128);
    return job;
  }

  private void post(String namespace, ObjectNode job) {
    client.raw("/apis/perigee.dev/v1alpha1/namespaces/" + namespace + "/pretrainjobs", "POST", job);
  }

  private void patchStatus(String namespace, String name, String status) {
    client
        .resources(PretrainJob.class)
        .inNamespace(namespace)
        .withName(name)
        .subresource("status")
        .patch(PatchContext.of(PatchType.JSON_MERGE), status);
  }

  private long ready(String namespace) {
    return jobs(namespace).stream()
        .filter(job -> job.getStatus() != null && job.getStatus().holds(ConditionType.Ready))
        .count();
  }

  private List<PretrainJob> jobs(String namespace) {
    return client.resources(PretrainJob.class).inNamespace(namespace).list().getItems();
  }

  private boolean allBeyond(long step) {
    return client.resources(PretrainJob.class).inAnyNamespace().list().getItems().stream()
        .filter(
            job ->
                job.getSpec().managedBy() == null || !job.getSpec().managedBy().endsWith("nobody"))
        .allMatch(
            job -> job.getStatus().progress() != null && job.getStatus().progress().step() > step);
  }

  private long pods() {
    return versions().size();
  }

  private Map<String, String> versions() {
    return client.pods().inAnyNamespace().withLabel("perigee.dev/kind").list().getItems().stream()
        .collect(
            Collectors.toMap(
                pod -> pod.getMetadata().getUid(),
                pod -> pod.getMetadata().getResourceVersion(),
                (a, b) -> a,
                TreeMap::new));
  }

  private static void await(BooleanSupplier condition) throws InterruptedException {
    long deadline = System.nanoTime() + PATIENCE_SECONDS * 1_000_000_000L;
    while (!condition.getAsBoolean()) {
      assertThat(System.nanoTime()).as("still waiting").isLessThan(deadline);
      Thread.sleep(100);
    }
  }

  private static void parallel(int count, IntConsumer work) throws Exception {
    Semaphore permits = new Semaphore(AT_ONCE);
    List<Future<?>> all = new ArrayList<>();
    try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
      for (int i = 0; i < count; i++) {
        int index = i;
        all.add(
            threads.submit(
                () -> {
                  permits.acquire();
                  try {
                    work.accept(index);
                  } finally {
                    permits.release();
                  }
                  return null;
                }));
      }
    }
    for (Future<?> one : all) {
      try {
        one.get();
      } catch (ExecutionException e) {
        throw new IllegalStateException("a bare client failed", e.getCause());
      }
    }
  }

  /** What the operator made for one pod, to be made again by a bare client. */
  private record Template(Pod pod, Service service, ConfigMap configMap, String status) {
    static Template of(KubernetesClient client, String namespace, String job) {
      return new Template(
          client.pods().inNamespace(namespace).withName(job + "-0").get(),
          client.services().inNamespace(namespace).withName(job).get(),
          client.configMaps().inNamespace(namespace).withName(job + "-attempt-1").get(),
          Serialization.asJson(
              Map.of(
                  "status",
                  client
                      .resources(PretrainJob.class)
                      .inNamespace(namespace)
                      .withName(job)
                      .get()
                      .getStatus())));
    }

    /** Without the label by which the operator knows it; the simulated nodes do. */
    Pod pod(String namespace, int i) {
      Pod copy =
          new PodBuilder(pod).withMetadata(metadata(pod, namespace, i)).withStatus(null).build();
      copy.getMetadata().getLabels().remove("perigee.dev/kind");
      copy.getSpec().setNodeName(null);
      return copy;
    }

    Service service(String namespace, int i) {
      return new ServiceBuilder(service)
          .withMetadata(metadata(service, namespace, i))
          .withStatus(null)
          .build();
    }

    ConfigMap configMap(String namespace, int i) {
      return new ConfigMapBuilder(configMap)
          .withMetadata(metadata(configMap, namespace, i))
          .build();
    }

    private static ObjectMeta metadata(HasMetadata of, String namespace, int i) {
      return new ObjectMetaBuilder()
          .withName("copy-" + i)
          .withNamespace(namespace)
          .withLabels(new TreeMap<>(of.getMetadata().getLabels()))
          .withOwnerReferences(of.getMetadata().getOwnerReferences())
          .build();
    }
  }
}
