package dev.perigee.cli.cluster;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.cli.cluster.api.ToyCrd;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What people do with kubectl works against the embedded cluster. */
class KubectlTest {
  @TempDir static Path folder;
  private static EmbeddedCluster cluster;
  private static Kubectl kubectl;

  @BeforeAll
  static void start() throws IOException, InterruptedException {
    Kubectl.assumeInstalled();
    cluster =
        EmbeddedCluster.start(
            new EmbeddedCluster.Options(
                0, folder.resolve("state"), folder.resolve("runs"), new ShellPrograms()));
    kubectl = new Kubectl(cluster.kubeconfig(), folder);
    assertThat(kubectl.with(ToyCrd.YAML, "apply", "-f", "-").out())
        .isEqualTo("customresourcedefinition.apiextensions.k8s.io/toys.example.dev created\n");
  }

  @AfterAll
  static void stop() {
    if (cluster != null) {
      cluster.close();
    }
  }

  private static String toy(String name, String spec) {
    return "apiVersion: example.dev/v1\nkind: Toy\nmetadata: {name: " + name + "}\nspec: " + spec;
  }

  private static String pod(String name, String script) {
    return """
        apiVersion: v1
        kind: Pod
        metadata: {name: %s}
        spec:
          restartPolicy: Never
          terminationGracePeriodSeconds: 5
          containers:
          - {name: main, image: shell, args: ["%s"]}
        """
        .formatted(name, script);
  }

  @Test
  void whoMayDoWhatIsAnsweredWithYes() throws Exception {
    assertThat(kubectl.run("auth", "can-i", "create", "pods").out()).startsWith("yes");
    assertThat(kubectl.run("auth", "can-i", "--list").out()).contains("*.*", "[*]");
  }

  @Test
  void appliesTwiceAndTheSecondTimeNothingChanges() throws Exception {
    String manifest = toy("twice", "{size: 4, tags: [a]}");

    assertThat(kubectl.with(manifest, "apply", "-f", "-").out())
        .isEqualTo("toy.example.dev/twice created\n");
    assertThat(kubectl.with(manifest, "apply", "-f", "-").out())
        .isEqualTo("toy.example.dev/twice unchanged\n");
    assertThat(kubectl.with(manifest.replace("size: 4", "size: 6"), "apply", "-f", "-").out())
        .isEqualTo("toy.example.dev/twice configured\n");
  }

  @Test
  void appliesOnTheServerSideAndReportsConflicts() throws Exception {
    String manifest = toy("ssa", "{size: 4}");

    assertThat(kubectl.with(manifest, "apply", "--server-side", "-f", "-").out())
        .isEqualTo("toy.example.dev/ssa serverside-applied\n");
    Kubectl.Result conflict =
        kubectl.with(
            manifest.replace("size: 4", "size: 6"),
            "apply",
            "--server-side",
            "--field-manager=other",
            "-f",
            "-");
    assertThat(conflict.err())
        .contains("conflict with \"kubectl\" using example.dev/v1: .spec.size");
    Kubectl.Result forced =
        kubectl.with(
            manifest.replace("size: 4", "size: 6"),
            "apply",
            "--server-side",
            "--field-manager=other",
            "--force-conflicts",
            "-f",
            "-");
    assertThat(forced.code()).isZero();
  }

  @Test
  void goesOverFromClientSideToServerSideApply() throws Exception {
    String manifest = toy("over", "{size: 4, label: abc}");
    kubectl.with(manifest, "apply", "-f", "-");

    Kubectl.Result over =
        kubectl.with(toy("over", "{size: 6}"), "apply", "--server-side", "-f", "-");

    assertThat(over.err()).isEmpty();
    assertThat(kubectl.run("get", "toy", "over", "-o", "jsonpath={.spec}").out())
        .isEqualTo("{\"color\":\"red\",\"size\":6}");
  }

  @Test
  void getsTheColumnsOfTheDefinition() throws Exception {
    kubectl.with(toy("columns", "{size: 8}"), "apply", "-f", "-");

    assertThat(kubectl.run("get", "ty", "columns").out().lines().toList())
        .satisfiesExactly(
            head -> assertThat(head.split(" +")).containsExactly("NAME", "SIZE", "READY", "AGE"),
            row -> assertThat(row).startsWith("columns   8"));
    assertThat(kubectl.run("get", "toy/columns", "-o", "jsonpath={.spec.color}").out())
        .isEqualTo("red");
    assertThat(kubectl.run("get", "toys", "columns", "-o", "yaml").out()).contains("size: 8");
  }

  @Test
  void refusesWhatTheRealServerRefusesInItsWords() throws Exception {
    assertThat(kubectl.with(toy("bad", "{size: 4, foo: 1}"), "create", "-f", "-").err())
        .contains("strict decoding error: unknown field \"spec.foo\"");
    assertThat(kubectl.with(toy("bad", "{size: four}"), "create", "-f", "-").err())
        .isEqualTo(
            "The Toy \"bad\" is invalid: spec.size: Invalid value: \"string\": spec.size in body"
                + " must be of type integer: \"string\"\n");
    assertThat(kubectl.with(toy("bad", "{size: 3}"), "create", "-f", "-").err())
        .isEqualTo("The Toy \"bad\" is invalid: spec: Invalid value: size must be even\n");
    assertThat(
            kubectl
                .with(toy("warned", "{size: 4, foo: 1}"), "create", "--validate=warn", "-f", "-")
                .all())
        .contains("Warning: unknown field \"spec.foo\"")
        .contains("toy.example.dev/warned created");
  }

  @Test
  void explainsAndListsTheKind() throws Exception {
    assertThat(kubectl.run("explain", "toy.spec.size").out())
        .contains("FIELD: size <integer>")
        .contains("How large it is.");
    assertThat(kubectl.run("api-resources").out())
        .containsPattern("toys +ty +example.dev/v1 +true +Toy")
        .containsPattern("pods +po +v1 +true +Pod");
  }

  @Test
  void describesAPodWithItsEvents() throws Exception {
    kubectl.with(pod("described", "sleep 60"), "apply", "-f", "-");
    assertThat(kubectl.run("wait", "--for=condition=Ready", "pod/described").code()).isZero();

    assertThat(kubectl.run("describe", "pod", "described").out())
        .containsPattern("Node: +local/127.0.0.1")
        .containsPattern("IP: +127\\.")
        .contains("Started container main");
    assertThat(kubectl.run("delete", "pod", "described", "--now").out())
        .contains("pod \"described\"");
  }

  @Test
  void followsALogToTheEndOfThePod() throws Exception {
    kubectl.with(
        pod("talks", "for i in 1 2 3; do echo line $i; sleep 0.3; done"), "apply", "-f", "-");
    kubectl.run("wait", "--for=jsonpath={.status.phase}=Running", "pod/talks");

    assertThat(kubectl.run("logs", "-f", "talks").out()).isEqualTo("line 1\nline 2\nline 3\n");
    assertThat(kubectl.run("logs", "talks", "--tail=1").out()).isEqualTo("line 3\n");
    assertThat(kubectl.run("logs", "talks", "--timestamps").out())
        .containsPattern("(?m)^\\d{4}-\\d\\d-\\d\\dT[0-9:.]+Z line 2$");
  }

  @Test
  void watchesWhatHappens() throws Exception {
    Process watch =
        kubectl.start("get", "toys", "-w", "-o", "name", "--field-selector=metadata.name=seen");
    try (BufferedReader lines = watch.inputReader(StandardCharsets.UTF_8)) {
      kubectl.with(toy("seen", "{size: 4}"), "apply", "-f", "-");

      assertThat(lines.readLine()).isEqualTo("toy.example.dev/seen");
      kubectl.run("label", "toy", "seen", "x=y");
      assertThat(lines.readLine()).isEqualTo("toy.example.dev/seen");
    } finally {
      watch.destroy();
    }
  }

  @Test
  void waitsForACondition() throws Exception {
    kubectl.with(toy("ready", "{size: 4}"), "apply", "-f", "-");
    Process wait = kubectl.start("wait", "--for=condition=Ready", "toy/ready", "--timeout=30s");

    kubectl.run(
        "patch",
        "toy",
        "ready",
        "--subresource=status",
        "--type=merge",
        "-p",
        "{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}");

    assertThat(wait.waitFor()).isZero();
  }

  @Test
  void deletesAndWaitsUntilThePodHasEnded() throws Exception {
    Path mark = folder.resolve("ended");
    kubectl.with(
        pod(
            "polite",
            "trap 'sleep 0.5; touch " + mark + "; exit 0' TERM; while :; do sleep 0.1; done"),
        "apply",
        "-f",
        "-");
    kubectl.run("wait", "--for=condition=Ready", "pod/polite");

    assertThat(kubectl.run("delete", "pod", "polite").out().toLowerCase(Locale.ROOT))
        .contains("deleted");
    assertThat(Files.exists(mark)).isTrue();
    assertThat(kubectl.run("get", "pod", "polite").err()).contains("\"polite\" not found");
  }
}
