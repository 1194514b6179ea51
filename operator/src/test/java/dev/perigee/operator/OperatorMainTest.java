package dev.perigee.operator;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the operator's program says when it cannot begin: one line, and exit status 1. */
class OperatorMainTest {
  @TempDir private Path home;

  @Test
  void withoutAnApiServerItSaysWhereItLookedAndWhyInOneLine() throws Exception {
    Path config = home.resolve("config");
    Files.writeString(
        config,
        """
        apiVersion: v1
        kind: Config
        current-context: nobody
        contexts: [{name: nobody, context: {cluster: nobody, user: nobody}}]
        clusters: [{name: nobody, cluster: {server: "http://127.0.0.1:1"}}]
        users: [{name: nobody, user: {}}]
        """);
    assertThat(said(Map.of("KUBECONFIG", config.toString())))
        .startsWith("perigee-operator: cannot reach the API server at http://127.0.0.1:1/: ")
        .containsIgnoringCase("connection refused")
        .endsWith("elsewhere KUBECONFIG or ~/.kube/config");
  }

  @Test
  void aSettingThatIsWrongIsNamedWithWhatWasExpected() throws Exception {
    assertThat(said(Map.of("PERIGEE_HTTP_PORT", "80a")))
        .isEqualTo(
            "perigee-operator: PERIGEE_HTTP_PORT: 80a is not a port, 0 to 65535 (0 for any free one)");
    assertThat(said(Map.of("PERIGEE_LEASE", "perigee")))
        .isEqualTo("perigee-operator: PERIGEE_LEASE: perigee is not <namespace>/<name> of a Lease");
    assertThat(said(Map.of("PERIGEE_GANG_READERS", "everybody")))
        .startsWith("perigee-operator: PERIGEE_GANG_READERS: expected a JSON list");
  }

  /** The one line of the program, which must end with status 1. */
  private String said(Map<String, String> settings) throws IOException, InterruptedException {
    ProcessBuilder program =
        new ProcessBuilder(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
            "-Djava.util.logging.config.file=" + Files.writeString(home.resolve("log"), ""),
            "-Duser.home=" + home,
            "-cp",
            System.getProperty("java.class.path"),
            OperatorMain.class.getName());
    program.environment().keySet().removeIf(name -> name.startsWith("KUBE"));
    program.environment().putAll(settings);
    Process p = program.redirectErrorStream(true).start();
    String text = new String(p.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(p.waitFor(60, TimeUnit.SECONDS)).isTrue();
    assertThat(p.exitValue()).isEqualTo(1);
    return text.lines().filter(l -> l.startsWith("perigee-operator")).toList().getLast();
  }
}
