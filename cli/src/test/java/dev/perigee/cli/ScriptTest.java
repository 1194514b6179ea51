package dev.perigee.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The script {@code perigee}, in a checkout of its own with a Maven and a JDK that say what they
 * got.
 */
class ScriptTest {
  private static final Duration PATIENCE = Duration.ofSeconds(30);

  @TempDir Path folder;
  private Path checkout;
  private Path tools;
  private Path jdk;

  private record Result(int code, String said) {}

  @BeforeEach
  void makeCheckout() throws IOException {
    checkout = Files.createDirectories(folder.resolve("a check out"));
    Files.copy(
        Checkout.root().resolve("perigee"),
        checkout.resolve("perigee"),
        StandardCopyOption.COPY_ATTRIBUTES);
    Files.createDirectories(checkout.resolve("cli/src/main"));
    Files.writeString(checkout.resolve("pom.xml"), "");
    Files.writeString(checkout.resolve("cli/pom.xml"), "");
    Files.writeString(checkout.resolve("cli/src/main/A.java"), "");
    tools = Files.createDirectories(folder.resolve("tools"));
    jdk = jdk("jdk", "25.0.1");
    program(tools.resolve("mvn"), "echo \"$$ $*\" >>\"$PERIGEE_MVN_CALLS\"");
  }

  private Path jdk(String name, String version) throws IOException {
    Path home = Files.createDirectories(folder.resolve(name));
    Files.createDirectories(home.resolve("bin"));
    Files.writeString(home.resolve("release"), "JAVA_VERSION=\"" + version + "\"\n");
    program(home.resolve("bin/javac"), "exit 1");
    program(
        home.resolve("bin/java"),
        "printf '%s\\n' \"LC_ALL=${LC_ALL:-}\" \"$@\" >\"$PERIGEE_JAVA_GOT\"; echo \""
            + name
            + ": ${*: -1}\"");
    return home;
  }

  private static void program(Path file, String body) throws IOException {
    Files.writeString(file, "#!/usr/bin/env bash\n" + body + "\n");
    assertThat(file.toFile().setExecutable(true)).isTrue();
  }

  private Process start(String javaHome, String... arguments) throws IOException {
    return start(Map.of("JAVA_HOME", javaHome), arguments);
  }

  private Process start(Map<String, String> environment, String... arguments) throws IOException {
    List<String> command =
        Stream.concat(Stream.of(checkout.resolve("perigee").toString()), Stream.of(arguments))
            .toList();
    ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
    builder.environment().putAll(environment);
    builder.environment().put("PERIGEE_MVN_CALLS", calls().toString());
    builder.environment().put("PERIGEE_JAVA_GOT", folder.resolve("got").toString());
    builder.environment().compute("PATH", (name, path) -> tools + ":" + path);
    return builder.start();
  }

  private Result run(String javaHome, String... arguments)
      throws IOException, InterruptedException {
    return ended(start(javaHome, arguments));
  }

  private static Result ended(Process process) throws IOException, InterruptedException {
    String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor(PATIENCE.toSeconds(), TimeUnit.SECONDS)).isTrue();
    return new Result(process.exitValue(), said);
  }

  private Path calls() {
    return folder.resolve("calls");
  }

  private List<String> builds() throws IOException {
    return Files.exists(calls()) ? Files.readAllLines(calls()) : List.of();
  }

  @Test
  void buildsOnceAndThenPassesOn() throws Exception {
    Result first = run(jdk.toString(), "plan", "x");
    Result second = run(jdk.toString(), "plan", "x");

    assertThat(first.said()).startsWith("perigee: building (log: ").endsWith("jdk: x\n");
    assertThat(second).isEqualTo(new Result(0, "jdk: x\n"));
    assertThat(builds()).hasSize(1).first().asString().endsWith("-B package -DskipTests");
  }

  @Test
  void aFileEditedDuringTheBuildIsBuiltTheNextTime() throws Exception {
    program(
        tools.resolve("mvn"),
        "echo x >>\"$PERIGEE_MVN_CALLS\"; sleep 0.05; touch cli/src/main/A.java");

    run(jdk.toString(), "version");
    run(jdk.toString(), "version");

    assertThat(builds()).hasSize(2);
  }

  /** Two Mavens in one checkout take each other's classes away. */
  @Test
  void twoCommandsAtOnceBuildOnce() throws Exception {
    assumeTrue(Files.isExecutable(Path.of("/usr/bin/flock")), "this machine has no flock(1)");
    Path go = folder.resolve("go");
    program(
        tools.resolve("mvn"),
        "echo x >>\"$PERIGEE_MVN_CALLS\"; until [ -e '" + go + "' ]; do sleep 0.05; done");
    Process first = start(jdk.toString(), "run", "one");
    Awaitility.await().atMost(PATIENCE).until(() -> builds().size() == 1);

    Process second = start(jdk.toString(), "run", "two");
    String waiting =
        second.inputReader(StandardCharsets.UTF_8).readLine(); // it says so, then it waits
    Files.createFile(go);

    assertThat(waiting)
        .isEqualTo("perigee: another command builds in " + checkout + "; waiting for it ...");
    assertThat(ended(first).said()).endsWith("jdk: one\n");
    assertThat(second.inputReader(StandardCharsets.UTF_8).readLine()).isEqualTo("jdk: two");
    assertThat(second.waitFor()).isZero();
    assertThat(builds()).hasSize(1);
  }

  @Test
  void aBuildThatFailsSaysWhyAndLeavesNothing() throws Exception {
    program(tools.resolve("mvn"), "echo '[ERROR] A.java:[3,4] no such thing'; exit 1");

    Result result = run(jdk.toString(), "version");

    assertThat(result.code()).isEqualTo(2);
    assertThat(result.said())
        .contains("[ERROR] A.java:[3,4] no such thing\n")
        .contains("perigee: the build failed; the whole log is in ");
    try (Stream<Path> left = Files.list(checkout.resolve("cli/target"))) {
      assertThat(left.map(p -> p.getFileName().toString()))
          .containsExactlyInAnyOrder(".lock", "build.log");
    }
  }

  @Test
  void aMissingMavenIsSaidWhereItCanBeRead() throws Exception {
    Path few = Files.createDirectories(folder.resolve("few"));
    for (String tool :
        List.of("bash", "env", "dirname", "readlink", "sed", "find", "mkdir", "flock")) {
      Path from = Path.of("/usr/bin", tool);
      if (Files.exists(from)) {
        Files.createSymbolicLink(few.resolve(tool), from);
      }
    }
    assumeTrue(Files.exists(few.resolve("bash")), "the system's tools are elsewhere");
    ProcessBuilder builder =
        new ProcessBuilder(checkout.resolve("perigee").toString(), "version")
            .redirectErrorStream(true);
    builder.environment().put("JAVA_HOME", jdk.toString());
    builder.environment().put("PATH", few.toString());

    Result result = ended(builder.start());

    assertThat(result.code()).isEqualTo(2);
    assertThat(result.said())
        .isEqualTo(
            "perigee: mvn not found. Install Maven 3.8 or newer, for example: apt-get install maven.\n");
  }

  @Test
  void aCheckoutThatCannotBeWrittenIsOneLine() throws Exception {
    Files.writeString(checkout.resolve("cli/target"), "a file in the folder's place");

    for (String command : List.of("version", "build", "test")) {
      Result result = run(jdk.toString(), command);

      assertThat(result.code()).isEqualTo(2);
      assertThat(result.said().lines())
          .singleElement()
          .asString()
          .startsWith("perigee: cannot write to " + checkout.resolve("cli/target") + ". ");
    }
  }

  /** In any other locale Java refuses a path that is not ASCII. */
  @Test
  void filesAreNamedInUtf8() throws Exception {
    assertThat(got(Map.of("LC_ALL", "", "LC_CTYPE", "", "LANG", ""))).startsWith("LC_ALL=C.UTF-8");
    assertThat(got(Map.of("LC_ALL", "POSIX", "LANG", "de_DE.UTF-8"))).startsWith("LC_ALL=C.UTF-8");
    assertThat(got(Map.of("LC_ALL", "", "LC_CTYPE", "", "LANG", "C.utf8")).getFirst())
        .isEqualTo("LC_ALL=");
  }

  @Test
  void temporaryFilesGoWhereTmpdirSays() throws Exception {
    assertThat(got(Map.of("TMPDIR", "/some where"))).contains("-Djava.io.tmpdir=/some where");
    assertThat(got(Map.of("TMPDIR", ""))).noneMatch(word -> word.contains("tmpdir"));
  }

  private List<String> got(Map<String, String> environment) throws Exception {
    Map<String, String> all = new HashMap<>(environment);
    all.put("JAVA_HOME", jdk.toString());
    assertThat(ended(start(all, "version")).code()).isZero();
    return Files.readAllLines(folder.resolve("got"));
  }

  @Test
  void anOldJavaHomeIsPassedOverForTheJdkOnThePath() throws Exception {
    Path old = jdk("old", "17.0.9");
    Files.createSymbolicLink(tools.resolve("javac"), jdk.resolve("bin/javac"));

    assertThat(run(old.toString(), "plan", "x").said()).endsWith("jdk: x\n");
    assertThat(run(folder.resolve("nowhere").toString(), "plan", "x").said()).isEqualTo("jdk: x\n");
  }
}
