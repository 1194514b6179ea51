package dev.perigee.cli.cluster.node;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FolderLocksTest {
  @TempDir Path folder;

  /** Another process: takes a folder, says so, and stays until its input ends. */
  static final class Holder {
    private Holder() {}

    public static void main(String[] args) throws IOException {
      try (FolderLocks locks = new FolderLocks()) {
        locks.take(Path.of(args[0]), "");
        System.out.println("taken");
        System.in.read();
      }
    }
  }

  private Process holder() throws IOException {
    Process process =
        new ProcessBuilder(
                List.of(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                    "-cp",
                    System.getProperty("java.class.path"),
                    Holder.class.getName(),
                    folder.toString()))
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    assertThat(process.inputReader().readLine()).isEqualTo("taken");
    return process;
  }

  @Test
  void whatAnotherProcessHoldsIsRefusedWithItsNumberUntilItIsKilled() throws Exception {
    Process other = holder();
    try (FolderLocks locks = new FolderLocks()) {
      for (int i = 0; i < 2; i++) { // being refused gives nothing away
        assertThatThrownBy(() -> locks.take(folder, "choose another with --state"))
            .isInstanceOf(FolderInUseException.class)
            .hasMessageStartingWith(folder.toRealPath() + ": in use by process " + other.pid())
            .hasMessageEndingWith(", or choose another with --state");
      }

      other.destroyForcibly(); // kill -9
      assertThat(other.waitFor(20, TimeUnit.SECONDS)).isTrue();

      locks.take(folder, "");
      assertThat(folder.resolve(FolderLocks.FILE))
          .content()
          .startsWith("process " + ProcessHandle.current().pid() + " (since ");
    } finally {
      other.destroyForcibly();
    }
  }

  @Test
  void twoClustersOfAProcessDoNotShareAFolderByAnyOfItsNames() throws IOException {
    Path link = Files.createSymbolicLink(folder.resolve("link"), folder);
    try (FolderLocks second = new FolderLocks()) {
      try (FolderLocks first = new FolderLocks()) {
        first.take(folder, "");
        first.take(link, "");
        assertThatThrownBy(() -> second.take(link, "go"))
            .hasMessageContaining("another cluster of");
      }

      second.take(link, "");
    }
  }
}
