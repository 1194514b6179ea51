package dev.perigee.engine.data;

import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/**
 * What a pod has read for one part of a run's data, in few numbers that pods can compare: two pods
 * with different files under one path would train on different text and not notice.
 *
 * @param part of the data, as messages name it
 * @param path that was read
 * @param files how many
 * @param bytes of all files
 * @param digest the first 48 bits of a SHA-256 over every file's length and bytes in the order of
 *     reading; as many as a double carries exactly
 */
public record Fingerprint(String part, Path path, int files, long bytes, long digest) {
  private static final int BITS = 48;

  /** What was read, without where: {@code 2 files of 1234 bytes (digest 0123456789ab)}. */
  @Override
  public String toString() {
    return "%d %s of %d bytes (digest %012x)"
        .formatted(files, files == 1 ? "file" : "files", bytes, digest);
  }

  /** Takes the fingerprint of files while they are read. */
  static final class Taker {
    private final MessageDigest sha256;
    private int files;
    private long bytes;

    Taker() {
      try {
        sha256 = MessageDigest.getInstance("SHA-256");
      } catch (NoSuchAlgorithmException e) {
        throw new IllegalStateException("every Java platform has SHA-256", e);
      }
    }

    /** Takes the next file, all of it. */
    void file(byte[] content) {
      file(content.length);
      part(content, content.length);
    }

    /** Begins the next file, of which all parts follow. */
    void file(long length) {
      files++;
      bytes += length;
      // The length first: where one file ends and the next begins is a matter of the data too.
      sha256.update(ByteBuffer.allocate(Long.BYTES).putLong(length).flip());
    }

    /** Takes the first {@code count} bytes of an array as the next ones of the file. */
    void part(byte[] content, int count) {
      sha256.update(content, 0, count);
    }

    Fingerprint of(String part, Path path) {
      long first = ByteBuffer.wrap(sha256.digest()).getLong() >>> (Long.SIZE - BITS);
      return new Fingerprint(part, path, files, bytes, first);
    }
  }
}
