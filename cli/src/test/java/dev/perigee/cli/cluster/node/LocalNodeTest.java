package dev.perigee.cli.cluster.node;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.cli.cluster.EmbeddedCluster;
import dev.perigee.cli.cluster.ShellPrograms;
import io.fabric8.kubernetes.api.model.ConfigMapBuilder;
import io.fabric8.kubernetes.api.model.ContainerStatus;
import io.fabric8.kubernetes.api.model.Event;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.dsl.PodResource;
import io.fabric8.kubernetes.client.utils.Serialization;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class LocalNodeTest {
  @TempDir static Path folder;
  private static EmbeddedCluster cluster;
  private static KubernetesClient client;

  @BeforeAll
  static void start() throws IOException {
    cluster =
        EmbeddedCluster.start(
            new EmbeddedCluster.Options(
                0, folder.resolve("state"), folder.resolve("runs"), new ShellPrograms()));
    client = cluster.client();
  }

  @AfterAll
  static void stop() {
    client.close();
    cluster.close();
  }

  private static Pod create(String name, String script, String more) {
    String yaml =
        """
        apiVersion: v1
        kind: Pod
        metadata: {name: %s, labels: {app: x}}
        spec:
          restartPolicy: Never
          terminationGracePeriodSeconds: 2
        %s
          containers:
          - name: main
            image: registry.example/shell:1
            args: ["%s"]
        """
            .formatted(name, more.isEmpty() ? "" : more.strip().indent(2).stripTrailing(), script);
    return client.pods().resource(Serialization.unmarshal(yaml, Pod.class)).create();
  }

  private static PodResource pod(String name) {
    return client.pods().withName(name);
  }

  private static Pod await(String name, Predicate<Pod> condition) {
    return pod(name).waitUntilCondition(p -> p != null && condition.test(p), 30, TimeUnit.SECONDS);
  }

  private static Pod ended(String name) {
    return await(
        name,
        p ->
            p.getStatus().getPhase().equals("Succeeded")
                || p.getStatus().getPhase().equals("Failed"));
  }

  private static ContainerStatus container(Pod pod) {
    return pod.getStatus().getContainerStatuses().getFirst();
  }

  @Test
  void aProgramThatEndsWellSucceeds() {
    create("well", "echo fine", "");

    Pod pod = ended("well");

    assertThat(pod.getStatus().getPhase()).isEqualTo("Succeeded");
    assertThat(container(pod).getState().getTerminated().getReason()).isEqualTo("Completed");
    assertThat(pod("well").getLog()).isEqualTo("fine\n");
  }

  @Test
  void anExitCodeAndASignalAreReported() {
    create("code", "exit 65", "");
    create("signal", "kill -9 $$$$", "");

    assertThat(container(ended("code")).getState().getTerminated().getExitCode()).isEqualTo(65);
    assertThat(container(ended("signal")).getState().getTerminated().getExitCode()).isEqualTo(137);
    assertThat(container(ended("code")).getState().getTerminated().getReason()).isEqualTo("Error");
  }

  @Test
  void anUnknownImageWaitsAsWithAKubelet() {
    client
        .resource(
            """
                {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "imageless"},
                 "spec": {"containers": [{"name": "main", "image": "nginx"}]}}
                """)
        .create();

    Pod pod =
        await(
            "imageless",
            p ->
                !p.getStatus().getContainerStatuses().isEmpty()
                    && container(p).getState().getWaiting() != null
                    && container(p).getState().getWaiting().getReason().contains("ImagePull"));

    assertThat(container(pod).getState().getWaiting().getMessage()).contains("nginx");
    assertThat(pod.getStatus().getPhase()).isEqualTo("Pending");
  }

  @Test
  void aPodThatAsksForAGpuIsNotScheduled() {
    client
        .resource(
            """
                {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gpu"},
                 "spec": {"containers": [{"name": "main", "image": "shell",
                   "resources": {"limits": {"nvidia.com/gpu": "8"}}}]}}
                """)
        .create();

    Pod pod = await("gpu", p -> !p.getStatus().getConditions().isEmpty());

    assertThat(pod.getStatus().getConditions().getFirst().getMessage())
        .contains("Insufficient nvidia.com/gpu");
    assertThat(pod.getSpec().getNodeName()).isNull();
  }

  @Test
  void aPodWhoseAmountsAreNoneIsRefusedAndTheNodeLivesOn() {
    String yaml =
        """
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lots"},
         "spec": {"containers": [{"name": "main", "image": "shell",
           "resources": {"requests": {"cpu": "lots"}}}]}}
        """;

    assertThatThrownBy(() -> client.resource(yaml).create())
        .hasMessageContaining("spec.containers[0].resources.requests.cpu")
        .hasMessageContaining("\"lots\": must be a quantity such as 500m, 2 or 4Gi");

    create("after-lots", "echo fine", "");
    assertThat(ended("after-lots").getStatus().getPhase()).isEqualTo("Succeeded");
  }

  @Test
  void aPodHasItsVolumesVariablesAndAddress() throws IOException {
    client
        .configMaps()
        .resource(
            new ConfigMapBuilder()
                .withNewMetadata()
                .withName("settings")
                .endMetadata()
                .withData(Map.of("run.json", "{}", "level", "7"))
                .build())
        .create();
    String yaml =
        """
        apiVersion: v1
        kind: Pod
        metadata: {name: full}
        spec:
          restartPolicy: Never
          hostname: full
          subdomain: gang
          volumes:
          - {name: run, configMap: {name: settings}}
          - {name: out, persistentVolumeClaim: {claimName: claim}}
          - {name: scratch, emptyDir: {}}
          containers:
          - name: main
            image: shell
            args: ['cat $PERIGEE_ROOT/run/run.json; echo " $LEVEL $IP $NAME $(LEVEL)"; echo x > $PERIGEE_ROOT/checkpoints/mark; echo last words > $PERIGEE_ROOT/termination-log']
            terminationMessagePath: /perigee/termination-log
            env:
            - {name: LEVEL, valueFrom: {configMapKeyRef: {name: settings, key: level}}}
            - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
            - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            volumeMounts:
            - {name: run, mountPath: /perigee/run}
            - {name: out, mountPath: /perigee/checkpoints}
            - {name: scratch, mountPath: /tmp}
        """;
    client
        .resource(
            """
            apiVersion: v1
            kind: PersistentVolumeClaim
            metadata: {name: claim}
            spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
            """)
        .create();
    client.resource(yaml).create();

    Pod pod = ended("full");

    String ip = pod.getStatus().getPodIP();
    assertThat(ip).startsWith("127.");
    assertThat(pod("full").getLog()).isEqualTo("{} 7 " + ip + " full 7\n");
    assertThat(folder.resolve("runs/default/claim/mark")).hasContent("x\n");
    assertThat(container(pod).getState().getTerminated().getMessage()).isEqualTo("last words");
    assertThat(Files.readString(folder.resolve("state/hosts")))
        .contains(ip + " full.gang.default.svc.cluster.local full.gang.default.svc");
    assertThat(client.persistentVolumeClaims().withName("claim").get().getStatus().getPhase())
        .isEqualTo("Bound");
  }

  @Test
  void aChangedConfigMapReachesTheRunningPod() {
    client
        .configMaps()
        .resource(
            new ConfigMapBuilder()
                .withNewMetadata()
                .withName("changing")
                .endMetadata()
                .withData(Map.of("a", "old"))
                .build())
        .create();
    client
        .resource(
            """
            apiVersion: v1
            kind: Pod
            metadata: {name: reader}
            spec:
              restartPolicy: Never
              volumes: [{name: v, configMap: {name: changing}}]
              containers:
              - name: main
                image: shell
                args: ['while grep -q old $PERIGEE_ROOT/run/a; do sleep 0.1; done; cat $PERIGEE_ROOT/run/a']
                volumeMounts: [{name: v, mountPath: /perigee/run}]
            """)
        .create();
    await("reader", p -> p.getStatus().getPhase().equals("Running"));

    client
        .configMaps()
        .withName("changing")
        .edit(
            m -> {
              m.setData(Map.of("a", "new\n"));
              return m;
            });

    ended("reader");
    assertThat(pod("reader").getLog()).isEqualTo("new\n");
  }

  @Test
  void aPodDoesNotWaitForAnOptionalConfigMapAndSeesItWhenItComes() {
    client
        .resource(
            """
            apiVersion: v1
            kind: Pod
            metadata: {name: early}
            spec:
              restartPolicy: Never
              volumes: [{name: v, configMap: {name: optional, optional: true}}]
              containers:
              - name: main
                image: shell
                args: ['while ! cat $PERIGEE_ROOT/run/a; do sleep 0.1; done']
                volumeMounts: [{name: v, mountPath: /perigee/run}]
            """)
        .create();
    await("early", p -> p.getStatus().getPhase().equals("Running"));

    client
        .configMaps()
        .resource(
            new ConfigMapBuilder()
                .withNewMetadata()
                .withName("optional")
                .endMetadata()
                .withData(Map.of("a", "here\n"))
                .build())
        .create();

    ended("early");
    assertThat(pod("early").getLog()).endsWith("here\n");
  }

  @Test
  void aPodThatWaitsForItsConfigMapSaysSoAndStartsOnceItIsThere() {
    create("waits", "cat $PERIGEE_ROOT/run/a", "volumes: [{name: v, configMap: {name: late}}]");
    // The mount itself is not needed to wait for the volume.
    await("waits", p -> !p.getStatus().getContainerStatuses().isEmpty());
    Awaitility.await()
        .until(
            () ->
                client.v1().events().list().getItems().stream()
                    .map(Event::getMessage)
                    .anyMatch("configmap \"late\" not found"::equals));

    client
        .configMaps()
        .resource(
            new ConfigMapBuilder()
                .withNewMetadata()
                .withName("late")
                .endMetadata()
                .withData(Map.of("a", "b"))
                .build())
        .create();

    assertThat(ended("waits").getStatus().getPhase()).isEqualTo("Failed"); // it is not mounted
  }

  @Test
  void aPodWaitsForAFolderThatAnotherClusterWritesTo() throws IOException {
    Path taken = Files.createDirectories(folder.resolve("taken"));
    try (FolderLocks other = new FolderLocks()) {
      other.take(taken, "");
      client
          .resource(
              """
              apiVersion: v1
              kind: Pod
              metadata: {name: second}
              spec:
                restartPolicy: Never
                volumes: [{name: v, hostPath: {path: FOLDER}}]
                containers:
                - name: main
                  image: shell
                  args: ['echo x > $PERIGEE_ROOT/out/mark']
                  volumeMounts: [{name: v, mountPath: /perigee/out}]
              """
                  .replace("FOLDER", taken.toString()))
          .create();
      Awaitility.await()
          .until(
              () ->
                  client.v1().events().list().getItems().stream()
                      .map(Event::getMessage)
                      .anyMatch(m -> m.contains("taken: in use by ")));
      assertThat(taken.resolve("mark")).doesNotExist();
    }

    assertThat(ended("second").getStatus().getPhase()).isEqualTo("Succeeded");
    assertThat(taken.resolve("mark")).exists();
  }

  @Test
  void aProgramThatIgnoresSigtermIsKilledAfterItsGrace() {
    create("stubborn", "trap '' TERM; while :; do sleep 0.1; done", "");
    await("stubborn", p -> p.getStatus().getPhase().equals("Running"));
    ProcessHandle process = cluster.node().processesOf("default", "stubborn").getFirst();

    pod("stubborn").delete();

    pod("stubborn").waitUntilCondition(p -> p == null, 10, TimeUnit.SECONDS);
    assertThat(process.isAlive()).isFalse();
  }

  @Test
  void aFailedContainerIsRestartedWhenItsPolicySaysSo() throws InterruptedException {
    client
        .resource(
            """
            apiVersion: v1
            kind: Pod
            metadata: {name: again}
            spec:
              restartPolicy: OnFailure
              containers: [{name: main, image: shell, args: ['exit 3']}]
            """)
        .create();

    Pod pod =
        await(
            "again",
            p ->
                !p.getStatus().getContainerStatuses().isEmpty()
                    && container(p).getRestartCount() == 1);

    assertThat(container(pod).getState().getWaiting().getReason()).isEqualTo("CrashLoopBackOff");
    assertThat(container(pod).getLastState().getTerminated().getExitCode()).isEqualTo(3);
    pod("again").delete();
  }

  @Test
  void programsDoNotOutliveTheNodeHoweverItGoes() throws Exception {
    // The node's end is the end of the supervisor's standard input, even after kill -9.
    PodProcess process =
        PodProcess.start(
            List.of("/bin/sh", "-c", "sleep 100"),
            Map.of("PATH", System.getenv("PATH")),
            folder,
            folder.resolve("orphan.log"));
    ProcessHandle program =
        Awaitility.await().until(() -> process.programs(), p -> !p.isEmpty()).getFirst();

    process.closeInput();

    program.onExit().get(5, TimeUnit.SECONDS);
    assertThat(process.exitCode()).isEqualTo(137);
  }
}
