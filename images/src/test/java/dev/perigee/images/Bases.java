package dev.perigee.images;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.GZIPOutputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveOutputStream;

/** Bases of a file or two, and readers of what was built on them. */
final class Bases {
  private Bases() {}

  /** A root file system that holds one file. */
  static Path rootFileSystem(Path file, boolean gzip) throws IOException {
    try (OutputStream out = Files.newOutputStream(file);
        OutputStream maybe = gzip ? new GZIPOutputStream(out) : out) {
      tar(maybe, Map.of("./etc/motd", bytes("base")));
    }
    return file;
  }

  /** The same as an image in OCI layout, in which an index names images of two architectures. */
  static Path oci(Path file, String architecture) throws IOException {
    Path layer = rootFileSystem(Files.createTempFile(file.getParent(), "layer", ".tar"), false);
    byte[] content = Files.readAllBytes(layer);
    Map<String, byte[]> files = new LinkedHashMap<>();
    String layerDigest = blob(files, content);
    String config =
        blob(
            files,
            json(
                Map.of(
                    "architecture",
                    architecture,
                    "os",
                    "linux",
                    "config",
                    Map.of("Env", List.of("FROM=oci")),
                    "rootfs",
                    Map.of("type", "layers", "diff_ids", List.of(layerDigest)))));
    String manifest =
        blob(
            files,
            json(
                Map.of(
                    "schemaVersion", 2,
                    "config", Map.of("digest", config),
                    "layers",
                        List.of(
                            Map.of(
                                "mediaType",
                                "application/vnd.oci.image.layer.v1.tar",
                                "digest",
                                layerDigest)))));
    files.put("oci-layout", bytes("{}"));
    files.put(
        "index.json",
        json(
            Map.of(
                "manifests",
                List.of(
                    Map.of(
                        "digest",
                        "sha256:none",
                        "platform",
                        Map.of("architecture", "s390x", "os", "linux")),
                    Map.of(
                        "digest",
                        manifest,
                        "platform",
                        Map.of("architecture", architecture, "os", "linux"))))));
    try (OutputStream out = Files.newOutputStream(file)) {
      tar(out, files);
    }
    return file;
  }

  /** Files of a tar file by their names. */
  static Map<String, byte[]> read(Path file) throws IOException {
    Map<String, byte[]> files = new LinkedHashMap<>();
    try (TarArchiveInputStream in = BaseImage.open(file)) {
      for (TarArchiveEntry e = in.getNextEntry(); e != null; e = in.getNextEntry()) {
        files.put(e.getName(), e.isDirectory() ? new byte[0] : in.readAllBytes());
      }
    }
    return files;
  }

  /**
   * Unpacks the layers of an image as {@code docker save} writes it, and says its configuration.
   */
  static JsonNode unpack(Path image, Path folder) throws IOException {
    Map<String, byte[]> files = read(image);
    JsonNode manifest = DockerArchive.JSON.readTree(files.get("manifest.json")).path(0);
    for (JsonNode layer : manifest.path("Layers")) {
      Path tar = Files.createTempFile("layer", ".tar");
      Files.write(tar, files.get(layer.asText()));
      try (TarArchiveInputStream in = BaseImage.open(tar)) {
        for (TarArchiveEntry e = in.getNextEntry(); e != null; e = in.getNextEntry()) {
          Path to = folder.resolve(e.getName().replaceFirst("^[./]+", ""));
          if (e.isDirectory()) {
            Files.createDirectories(to);
          } else if (e.isFile() && !e.isSymbolicLink()) {
            Files.createDirectories(to.getParent());
            Files.copy(in, to);
            to.toFile().setExecutable((e.getMode() & 0100) != 0);
            Files.setLastModifiedTime(to, e.getLastModifiedTime());
          }
        }
      }
      Files.delete(tar);
    }
    return DockerArchive.JSON.readTree(files.get(manifest.path("Config").asText()));
  }

  private static String blob(Map<String, byte[]> files, byte[] content) throws IOException {
    String digest = sha256(content);
    files.put("blobs/sha256/" + digest, content);
    return "sha256:" + digest;
  }

  private static void tar(OutputStream out, Map<String, byte[]> files) throws IOException {
    try (TarArchiveOutputStream tar = new TarArchiveOutputStream(out)) {
      for (Map.Entry<String, byte[]> file : files.entrySet()) {
        TarArchiveEntry entry = new TarArchiveEntry(file.getKey());
        entry.setSize(file.getValue().length);
        tar.putArchiveEntry(entry);
        tar.write(file.getValue());
        tar.closeArchiveEntry();
      }
    }
  }

  private static byte[] json(Object value) throws IOException {
    return DockerArchive.JSON.writeValueAsBytes(value);
  }

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  /** SHA-256 in hexadecimal. */
  static String sha256(byte[] content) {
    return HexFormat.of().formatHex(DockerArchive.sha256().digest(content));
  }
}
