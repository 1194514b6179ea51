package dev.perigee.engine.checkpoint;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * The checksums of a checkpoint's files (file {@code trainer/manifest.json}, written last).
 *
 * @param files by path relative to the checkpoint's folder
 */
record Manifest(Map<String, Entry> files) {
  static final String FILE = "trainer/manifest.json";

  private static final ObjectMapper JSON = new ObjectMapper();

  /** One file. */
  record Entry(long bytes, String sha256) {}

  Manifest {
    files = new TreeMap<>(files == null ? Map.of() : files);
  }

  static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java platform has SHA-256", e);
    }
  }

  static String hex(MessageDigest digest) {
    return HexFormat.of().formatHex(digest.digest());
  }

  byte[] toJson() throws IOException {
    return JSON.writerWithDefaultPrettyPrinter().writeValueAsBytes(this);
  }

  /**
   * What is wrong with a checkpoint's folder, empty when every file is as it was written.
   *
   * @throws IOException when the volume cannot be read
   */
  static Optional<String> fault(Path folder) throws IOException {
    byte[] text;
    try {
      text = Files.readAllBytes(folder.resolve(FILE));
    } catch (NoSuchFileException e) {
      return Optional.of("it has no " + FILE + ", so it was never complete");
    }
    Manifest manifest;
    try {
      manifest = JSON.readValue(text, Manifest.class);
    } catch (IOException e) { // Jackson's own, or that of bytes that it takes for UTF-32
      return Optional.of(FILE + " is not JSON");
    }
    if (manifest == null || !manifest.files.containsKey(TrainerFiles.STATE)) {
      return Optional.of(FILE + " does not name " + TrainerFiles.STATE);
    }
    for (Map.Entry<String, Entry> named : manifest.files.entrySet()) {
      if (named.getValue() == null) {
        return Optional.of(FILE + " says nothing about " + named.getKey());
      }
      Path file;
      try {
        file = folder.resolve(named.getKey());
      } catch (InvalidPathException e) {
        return Optional.of(FILE + " names what can be no file");
      }
      if (!Files.isRegularFile(file)) {
        return Optional.of(named.getKey() + " is missing");
      }
      long bytes = Files.size(file);
      if (bytes != named.getValue().bytes) {
        return Optional.of(
            "%s has %d bytes; it was written with %d"
                .formatted(named.getKey(), bytes, named.getValue().bytes));
      }
      if (!checksum(file).equals(named.getValue().sha256)) {
        return Optional.of(named.getKey() + " does not match its checksum");
      }
    }
    return Optional.empty();
  }

  private static String checksum(Path file) throws IOException {
    MessageDigest digest = sha256();
    byte[] buffer = new byte[1 << 18];
    try (InputStream in = Files.newInputStream(file)) {
      for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
        digest.update(buffer, 0, n);
      }
    }
    return hex(digest);
  }
}
