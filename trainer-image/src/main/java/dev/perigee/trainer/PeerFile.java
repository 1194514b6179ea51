package dev.perigee.trainer;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.run.RankMap;
import dev.perigee.run.RunFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/**
 * Addresses of the gang's pods, in a file that appears once all pods have one. It is read again
 * whenever it is asked, because a name may stay unknown for longer than the file takes to come.
 *
 * @param file the rank map with addresses
 * @param generation the start that it must be of
 */
record PeerFile(Path file, int generation) implements Fabric.Addresses {
  private static final ObjectMapper JSON = new ObjectMapper();

  /** The file of a program with that root. */
  static PeerFile in(Path root, int generation) {
    return new PeerFile(root.resolve(RunFiles.PEERS_FOLDER).resolve(RunFiles.RANK_MAP), generation);
  }

  @Override
  public Optional<String> of(int podIndex) {
    try {
      if (!Files.exists(file)) {
        return Optional.empty();
      }
      RankMap map = JSON.readValue(Files.readAllBytes(file), RankMap.class);
      return map.generation() == generation && podIndex < map.pods().size()
          ? Optional.ofNullable(map.pods().get(podIndex).ip())
          : Optional.empty();
    } catch (IOException e) {
      return Optional.empty(); // being replaced; it is read again
    }
  }
}
