package dev.perigee.images;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.DigestInputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveOutputStream;

/** Writes images as {@code docker save} does: manifest.json, a configuration, and layers. */
final class DockerArchive implements AutoCloseable {
  static final ObjectMapper JSON = new ObjectMapper();

  private final TarArchiveOutputStream tar;

  private DockerArchive(OutputStream out) {
    tar = new TarArchiveOutputStream(out);
    tar.setBigNumberMode(TarArchiveOutputStream.BIGNUMBER_POSIX);
    tar.setLongFileMode(TarArchiveOutputStream.LONGFILE_POSIX);
  }

  /** Begins an archive. */
  static DockerArchive create(Path file) throws IOException {
    return new DockerArchive(Files.newOutputStream(file));
  }

  /** Makes an image of one layer, which may be larger than the memory. */
  static void ofRootFileSystem(Path rootFileSystem, Path file, String architecture)
      throws IOException {
    Path layer = Files.createTempFile(file.toAbsolutePath().getParent(), "layer", ".tar");
    try {
      String digest;
      try (DigestInputStream in =
          new DigestInputStream(BaseImage.decompressed(rootFileSystem), sha256())) {
        Files.copy(in, layer, StandardCopyOption.REPLACE_EXISTING);
        digest = HexFormat.of().formatHex(in.getMessageDigest().digest());
      }
      Map<String, Object> config =
          Map.of(
              "architecture",
              architecture,
              "os",
              "linux",
              "config",
              Map.of(),
              "rootfs",
              Map.of("type", "layers", "diff_ids", List.of("sha256:" + digest)));
      try (DockerArchive archive = create(file)) {
        archive.add("config.json", JSON.writeValueAsBytes(config));
        archive.add("layer.tar", layer);
        archive.manifest("config.json", List.of("layer.tar"));
      }
    } finally {
      Files.deleteIfExists(layer);
    }
  }

  /** Adds a file. */
  void add(String name, byte[] content) throws IOException {
    TarArchiveEntry entry = new TarArchiveEntry(name);
    entry.setSize(content.length);
    tar.putArchiveEntry(entry);
    tar.write(content);
    tar.closeArchiveEntry();
  }

  /** Adds a file. */
  void add(String name, Path content) throws IOException {
    TarArchiveEntry entry = new TarArchiveEntry(name);
    entry.setSize(Files.size(content));
    tar.putArchiveEntry(entry);
    Files.copy(content, tar);
    tar.closeArchiveEntry();
  }

  /** Says which of the files are the configuration and the layers. */
  void manifest(String config, List<String> layers) throws IOException {
    add(
        "manifest.json",
        JSON.writeValueAsBytes(List.of(Map.of("Config", config, "Layers", layers))));
  }

  @Override
  public void close() throws IOException {
    tar.close();
  }

  static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every JDK has SHA-256", e);
    }
  }
}
