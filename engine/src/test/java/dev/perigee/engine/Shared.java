package dev.perigee.engine;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;

/** Files beside the repository that some tests compare with; without them those tests skip. */
public final class Shared {
  private Shared() {}

  /** A path under {@code ../shared} of the repository, or under $PERIGEE_SHARED. */
  public static Path path(String name) {
    String given = System.getenv("PERIGEE_SHARED");
    Path shared =
        given != null
            ? Path.of(given)
            : Path.of("").toAbsolutePath().resolve("../../shared").normalize();
    Path path = shared.resolve(name);
    assumeTrue(Files.exists(path), () -> "skipped: no " + path + " to compare with");
    return path;
  }
}
