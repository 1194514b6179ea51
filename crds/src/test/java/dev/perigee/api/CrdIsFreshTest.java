package dev.perigee.api;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class CrdIsFreshTest {
  private static final Path FILE = Path.of("yaml", "pretrainjobs.perigee.dev.yaml");

  @Test
  void theCommittedDefinitionIsWhatTheTypesSay() throws IOException {
    String generated = CrdGeneration.pretrainJob();
    if (Boolean.getBoolean("perigee.regenerate")) {
      Files.writeString(FILE, generated);
    }
    assertThat(Files.readString(FILE))
        .as(
            "%s is stale; write it anew with ./perigee test -pl crds -Dperigee.regenerate=true",
            FILE)
        .isEqualTo(generated);
  }
}
