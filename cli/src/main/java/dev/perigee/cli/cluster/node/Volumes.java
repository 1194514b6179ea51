package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import dev.perigee.cli.cluster.api.Json;
import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * The folders of this machine that stand for volumes: {@code RUNS/NAMESPACE/CLAIM} for a claim, and
 * what a hostPath names.
 */
public final class Volumes implements Closeable {
  private final Path runs;
  private final FolderLocks locks = new FolderLocks();

  Volumes(Path runs) {
    this.runs = runs;
  }

  /** The folder of a claim, whether or not it is there. */
  Path folder(String namespace, String claim) {
    return runs.resolve(namespace).resolve(claim);
  }

  /**
   * The folder of a volume, whether or not it is there.
   *
   * @param source with {@code persistentVolumeClaim} or {@code hostPath}
   */
  public Path folder(String namespace, JsonNode source) {
    String host = Json.text(source, "hostPath", "path");
    return host.isEmpty()
        ? folder(namespace, Json.text(source, "persistentVolumeClaim", "claimName"))
        : Path.of(host);
  }

  /**
   * Keeps a volume's folder for this cluster, as the first pod that writes to it would.
   *
   * @param source with {@code persistentVolumeClaim} or {@code hostPath}
   * @throws FolderInUseException when another cluster writes to it
   */
  public void take(String namespace, JsonNode source) throws IOException {
    Path folder = folder(namespace, source);
    if (folder.startsWith(runs)) {
      Files.createDirectories(folder);
    }
    take(folder);
  }

  /**
   * Keeps a folder for this cluster until it ends, so that no two write the same job's files.
   *
   * @throws FolderInUseException when another cluster writes to it
   */
  void take(Path folder) throws IOException {
    if (Files.isDirectory(folder)) { // a hostPath may be a file or a device, or come later
      locks.take(
          folder,
          folder.startsWith(runs)
              ? "write elsewhere with --runs DIR"
              : "name another folder in the manifest");
    }
  }

  @Override
  public void close() {
    locks.close();
  }
}
