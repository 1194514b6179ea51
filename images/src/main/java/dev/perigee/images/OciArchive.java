package dev.perigee.images;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.StreamSupport;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;

/** Reads images in the layout of the Open Container Initiative, which Jib does not. */
final class OciArchive {
  private OciArchive() {}

  /**
   * Writes the same image as {@code docker save} would.
   *
   * @throws ImageException when the archive holds no image for this machine's architecture
   */
  static void toDockerArchive(Path oci, Path docker) throws IOException, ImageException {
    Path folder = Files.createTempDirectory(docker.getParent(), "oci");
    try (TarArchiveInputStream in = BaseImage.open(oci)) {
      for (TarArchiveEntry e = in.getNextEntry(); e != null; e = in.getNextEntry()) {
        Path file = folder.resolve(e.getName()).normalize();
        if (e.isFile() && file.startsWith(folder)) {
          Files.createDirectories(file.getParent());
          Files.copy(in, file);
        }
      }
    }
    JsonNode manifest = manifest(folder, read(folder.resolve("index.json")), oci);
    String config = manifest.at("/config/digest").asText();
    List<String> layers = new ArrayList<>();
    try (DockerArchive archive = DockerArchive.create(docker)) {
      archive.add(name(config) + ".json", blob(folder, config));
      for (JsonNode layer : manifest.path("layers")) {
        String digest = layer.path("digest").asText();
        String type = layer.path("mediaType").asText();
        if (!type.endsWith("tar") && !type.endsWith("gzip")) {
          throw new ImageException("--base: " + oci + ": a layer is " + type + ", not tar or gzip");
        }
        String file = name(digest) + ".tar";
        if (!layers.contains(file)) {
          archive.add(file, blob(folder, digest));
        }
        layers.add(file);
      }
      archive.manifest(name(config) + ".json", layers);
    }
  }

  /** The image for this architecture, through however many indexes. */
  private static JsonNode manifest(Path folder, JsonNode index, Path oci)
      throws IOException, ImageException {
    if (!index.has("manifests")) {
      return index;
    }
    String architecture = JavaRuntime.architecture();
    Optional<JsonNode> chosen =
        StreamSupport.stream(index.path("manifests").spliterator(), false)
            .filter(
                m ->
                    m.path("platform").isMissingNode()
                        || m.at("/platform/architecture").asText().equals(architecture))
            .findFirst();
    if (chosen.isEmpty()) {
      throw new ImageException("--base: " + oci + " holds no image for " + architecture);
    }
    return manifest(folder, read(blob(folder, chosen.get().path("digest").asText())), oci);
  }

  private static Path blob(Path folder, String digest) throws ImageException {
    Path file = folder.resolve("blobs").resolve(digest.replace(':', '/')).normalize();
    if (!file.startsWith(folder) || !Files.isRegularFile(file)) {
      throw new ImageException("--base: the OCI archive lacks its blob " + digest);
    }
    return file;
  }

  private static String name(String digest) {
    return digest.substring(digest.indexOf(':') + 1);
  }

  private static JsonNode read(Path file) throws IOException {
    return DockerArchive.JSON.readTree(file.toFile());
  }
}
