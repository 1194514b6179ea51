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
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;

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
   * Reads a folder's manifest.
   *
   * @throws DamagedException when there is none, or none that says of each file what it was
   * @throws IOException when the volume cannot be read
   */
  static Manifest read(Path folder) throws IOException, DamagedException {
    byte[] text;
    try {
      text = Files.readAllBytes(folder.resolve(FILE));
    } catch (NoSuchFileException e) {
      throw new DamagedException("it has no " + FILE + ", so it was never complete");
    }
    Manifest manifest;
    try {
      manifest = JSON.readValue(text, Manifest.class);
    } catch (IOException e) { // Jackson's own, or that of bytes that it takes for UTF-32
      throw new DamagedException(FILE + " is not JSON");
    }
    if (manifest == null || !manifest.files.containsKey(TrainerFiles.STATE)) {
      throw new DamagedException(FILE + " does not name " + TrainerFiles.STATE);
    }
    for (Map.Entry<String, Entry> named : manifest.files.entrySet()) {
      if (named.getValue() == null) {
        throw new DamagedException(FILE + " says nothing about " + named.getKey());
      }
    }
    return manifest;
  }

  /** A checkpoint is not as it was written; the message says what of it. */
  static final class DamagedException extends Exception {
    private static final long serialVersionUID = 1;

    DamagedException(String message) {
      super(message);
    }
  }

  /** Checks that every file is there in its size. */
  void checkSizes(Path folder) throws IOException, DamagedException {
    for (Map.Entry<String, Entry> named : files.entrySet()) {
      Path file;
      try {
        file = folder.resolve(named.getKey());
      } catch (InvalidPathException e) {
        throw new DamagedException(FILE + " names what can be no file");
      }
      if (!Files.isRegularFile(file)) {
        throw new DamagedException(named.getKey() + " is missing");
      }
      long bytes = Files.size(file);
      if (bytes != named.getValue().bytes) {
        throw new DamagedException(
            "%s has %d bytes; it was written with %d"
                .formatted(named.getKey(), bytes, named.getValue().bytes));
      }
    }
  }

  /** The files, largest first. */
  List<String> largestFirst() {
    return files.entrySet().stream()
        .sorted(
            Comparator.comparingLong((Map.Entry<String, Entry> e) -> e.getValue().bytes).reversed())
        .map(Map.Entry::getKey)
        .toList();
  }

  /** Those that one of {@code size} readers reads: all get about as many bytes. */
  List<String> share(int index, int size) {
    List<String> names = largestFirst();
    return IntStream.iterate(index, i -> i < names.size(), i -> i + size)
        .mapToObj(names::get)
        .toList();
  }

  /** Whether a file has the bytes that it was written with. */
  boolean isWhole(Path folder, String name) throws IOException {
    return checksum(folder.resolve(name)).equals(files.get(name).sha256);
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
