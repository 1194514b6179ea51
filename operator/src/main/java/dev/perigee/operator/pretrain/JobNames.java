package dev.perigee.operator.pretrain;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** Names of what belongs to a job; the same for the same job, always. */
final class JobNames {
  /** Longest DNS label (RFC 1123): host names and Services are labels. */
  static final int LABEL = 63;

  private static final int HASH = 8;

  private JobNames() {}

  /** The Service takes the job's own name. */
  static String service(String job) {
    return job;
  }

  /** Pod {@code <job>-<index>}; a job name that is too long for that is cut and gets a hash. */
  static String pod(String job, int index, int pods) {
    int digits = Integer.toString(pods - 1).length();
    return stem(job, LABEL - 1 - digits) + "-" + index;
  }

  /**
   * Spare {@code <job>-spare<number>}: no pod of any job is called so, because those end with a
   * hyphen and their index.
   */
  static String spare(String job, int number) {
    String suffix = "-spare" + number;
    return stem(job, LABEL - suffix.length()) + suffix;
  }

  /** One start of the gang at its scheduler, {@code <job>-attempt-<n>}; fits into a label. */
  static String group(String job, int generation) {
    String suffix = "-attempt-" + generation;
    return stem(job, LABEL - suffix.length()) + suffix;
  }

  private static String stem(String job, int room) {
    return job.length() <= room
        ? job
        : job.substring(0, room - 1 - HASH) + "-" + sha256(job).substring(0, HASH);
  }

  /** SHA-256 in hexadecimal. */
  static String sha256(String text) {
    try {
      byte[] digest =
          MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
      return HexFormat.of().formatHex(digest);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every JDK has SHA-256", e);
    }
  }
}
