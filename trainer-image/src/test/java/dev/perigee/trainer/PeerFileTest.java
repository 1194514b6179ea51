package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Addresses that come after the program has started. */
class PeerFileTest {
  private static final String MAP =
      "{\"generation\": 3, \"pods\": [{\"index\": 0, \"name\": \"a\", \"ip\": \"10.0.0.7\","
          + " \"ranks\": [0]}]}";

  @TempDir Path root;

  @Test
  void anAddressIsKnownFromTheMomentTheFileIsThere() throws IOException {
    PeerFile peers = PeerFile.in(root, 3);
    assertThat(peers.of(0)).isEmpty();
    Files.createDirectories(root.resolve("peers"));
    Files.writeString(root.resolve("peers/ranks.json"), MAP.substring(0, 20));
    assertThat(peers.of(0)).as("half of it").isEmpty();
    Files.writeString(root.resolve("peers/ranks.json"), MAP);
    assertThat(peers.of(0)).contains("10.0.0.7");
    assertThat(peers.of(1)).isEmpty();
    assertThat(PeerFile.in(root, 4).of(0)).as("of another start").isEmpty();
  }
}
